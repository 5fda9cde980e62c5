// Package packaging holds the tests of the packages that make packages builds. It has no code of its own.
package packaging
