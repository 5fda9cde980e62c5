// Command man writes the manual pages of a program: one for each of its commands, from what the commands say of
// themselves with --help, and one for its configuration file, from that file's comments. So neither can say anything else
// than the program does. It reads --help, and the programs have no command for it, because a generator inside them would
// be a part of every agent's memory.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// run writes the pages that args ask for.
func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("man", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var e edition
	binary := flags.String("program", "", "`file` of the program, which is run with --help")
	config := flags.String("config", "", "its configuration `file` with every key, its default and its comment")
	out := flags.String("out", "", "`directory` for the pages")
	flags.StringVar(&e.version, "version", "", "`version` in the pages' footer")
	flags.StringVar(&e.date, "date", "", "`date` in the pages' footer, such as 2026-03-01")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *binary == "" || *config == "" || *out == "" || e.version == "" || e.date == "" {
		return errors.New("-program, -config, -out, -version and -date are all needed")
	}
	about, ok := programs[filepath.Base(*binary)]
	if !ok {
		return fmt.Errorf("%s is none of the programs that have manual pages", *binary)
	}
	pages, err := commandPages(about, *binary, e)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(*config)
	if err != nil {
		return err
	}
	page, err := configPage(about, string(text), e)
	if err != nil {
		return fmt.Errorf("%s: %w", *config, err)
	}
	pages[about.config.page+".5"] = page
	return writeAll(*out, pages)
}

// writeAll writes each page into a file of its name.
func writeAll(dir string, pages map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
