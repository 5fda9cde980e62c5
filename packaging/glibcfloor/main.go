// Command glibcfloor checks that programs run on an old C library: it names each symbol that asks for a newer version of
// glibc than the floor, and each library that a program cannot start without and that was not allowed.
package main

import (
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "glibcfloor:", err)
		os.Exit(1)
	}
}

// allowed are the libraries that every Linux with glibc has. libsystemd is not among them: it is loaded at run time, where
// it is there.
var allowed = []string{
	"libc.so.6", "libdl.so.2", "libpthread.so.0", "libresolv.so.2", "librt.so.1", "libm.so.6",
	"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1",
}

// run checks each file named in args and says what the newest version is that it asks for.
func run(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("glibcfloor", flag.ContinueOnError)
	floor := flags.String("floor", "2.28", "newest `version` of glibc that may be asked for")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("no program is named")
	}
	limit, err := parseVersion(*floor)
	if err != nil {
		return err
	}
	var all error
	for _, path := range flags.Args() {
		said, err := check(path, limit)
		if err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", path, err))
			continue
		}
		fmt.Fprintf(stdout, "%s: %s\n", path, said)
	}
	return all
}

// check is what one program asks for, in words, or what of it is too much.
func check(path string, limit version) (string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	libraries, err := file.ImportedLibraries()
	if err != nil {
		return "", err
	}
	symbols, err := file.ImportedSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return "", err
	}
	if len(libraries) == 0 {
		return "static, asks for no C library", nil
	}
	newest, newestName, problems := judge(symbols, limit)
	needs, _ := file.DynamicVersionNeeds() // an error where there is no table of them
	problems = append(problems, unknownNeeds(needs)...)
	for _, library := range libraries {
		if !slices.Contains(allowed, library) {
			problems = append(problems, "does not start without "+library)
		}
	}
	if len(problems) > 0 {
		return "", errors.New(strings.Join(problems, "; "))
	}
	return fmt.Sprintf("newest is GLIBC_%s (%s), needs %s", newest, newestName, strings.Join(libraries, ", ")), nil
}

// judge finds the newest version among symbols, and what is above the limit or of no known version.
func judge(symbols []elf.ImportedSymbol, limit version) (newest version, name string, problems []string) {
	for _, s := range symbols {
		text, ok := strings.CutPrefix(s.Version, "GLIBC_")
		if !ok {
			continue // weak ones without a version, such as __gmon_start__
		}
		v, err := parseVersion(text)
		switch {
		case err != nil: // GLIBC_PRIVATE, GLIBC_ABI_DT_RELR: of one build, or of a new one
			problems = append(problems, fmt.Sprintf("%s asks for %s", s.Name, s.Version))
		case v.compare(limit) > 0:
			problems = append(problems, fmt.Sprintf("%s asks for GLIBC_%s, above GLIBC_%s", s.Name, v, limit))
		case v.compare(newest) > 0:
			newest, name = v, s.Name
		}
	}
	return newest, name, problems
}

// unknownNeeds are versions that no symbol has but the program as a whole, such as GLIBC_ABI_DT_RELR of glibc 2.36.
func unknownNeeds(needs []elf.DynamicVersionNeed) (problems []string) {
	for _, need := range needs {
		for _, dep := range need.Needs {
			if strings.HasPrefix(dep.Dep, "GLIBC_ABI_") {
				problems = append(problems, "the program as a whole asks for "+dep.Dep)
			}
		}
	}
	return problems
}

// version is that of a C library, such as 2.28 or 2.2.5.
type version []int

func parseVersion(text string) (version, error) {
	var v version
	for _, part := range strings.Split(text, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("%q is no version of glibc", text)
		}
		v = append(v, n)
	}
	return v, nil
}

func (v version) compare(other version) int { return slices.Compare(v, other) }

// String implements fmt.Stringer.
func (v version) String() string {
	parts := make([]string, len(v))
	for i, n := range v {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ".")
}
