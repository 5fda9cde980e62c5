// Command licenses writes the copyright file of a package, in Debian's machine-readable form (DEP-5): the program's own
// license and that of every module that is linked into it, with the texts that these licenses want to go along. It reads
// what the Go tool would link and the license files beside the sources; a license that it does not know ends it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

// run writes the file for the program in the package that args name.
func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("licenses", flag.ContinueOnError)
	flags.SetOutput(stderr)
	tags := flags.String("tags", "", "build `tags`, as of the go command")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("name one program's package, such as ./cmd/ctwarden")
	}
	works, err := linked(flags.Arg(0), *tags)
	if err != nil {
		return err
	}
	return writeCopyright(stdout, works)
}
