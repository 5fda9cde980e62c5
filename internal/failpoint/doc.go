// Package failpoint has a program that is built for tests (-tags failpoint) kill itself at a stage of its work.
package failpoint
