// Package imports holds the test of which package may import which. It has no code of its own.
package imports
