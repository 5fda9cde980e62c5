package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"syscall"

	"go.yaml.in/yaml/v4"
)

// MaxBytes is the largest file that is read.
const MaxBytes = 1 << 20

// File is a file that was loaded.
type File struct {
	Path string
	// Missing is true where there was no file, so that all values are the defaults.
	Missing bool

	d *decoder
}

// Has tells whether the file sets key, a full path such as "nats.servers".
func (f *File) Has(key string) bool { return f.d != nil && f.d.nodes[key] != nil }

// Problem is a finding about key with the line and the value that the file has for it: for warnings that need a look
// at the machine, such as a file that is not there.
func (f *File) Problem(key, format string, args ...any) Problem {
	text := fmt.Sprintf(format, args...)
	if f.d == nil {
		return Problem{File: f.Path, Key: key, Text: text}
	}
	return f.d.problem(key, text)
}

// Load reads the file at path into the struct that into points to, which holds the defaults. The error is an *[Error]
// with every mistake at once, also where the file is missing, cannot be read or is a directory; into is then
// partly filled and must not be used.
func Load(path string, into any) (*File, error) {
	data, err := read(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	return Decode(path, data, into)
}

// LoadDefault is [Load] for a file that nobody has named: a missing one leaves the defaults, and File.Missing is true.
func LoadDefault(path string, into any) (*File, error) {
	file, err := Load(path, into)
	if errors.Is(err, fs.ErrNotExist) {
		return decode(&File{Path: path, Missing: true}, nil, into)
	}
	return file, err
}

// Decode is [Load] for content that is in memory; name stands for the file in messages.
func Decode(name string, data []byte, into any) (*File, error) {
	return decode(&File{Path: name}, data, into)
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err == nil && len(data) > MaxBytes {
		err = fmt.Errorf("is larger than %d bytes; this is not a configuration file", MaxBytes)
	}
	return data, err
}

// fileError says what is wrong with the file itself and what to do.
func fileError(path string, err error) error {
	var text string
	switch {
	case errors.Is(err, fs.ErrNotExist):
		text = "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		text = fmt.Sprintf("may not be read by user id %d; run as root or as the agent's user", os.Getuid())
	case errors.Is(err, syscall.EISDIR):
		text = "is a directory; name the file in it"
	default:
		text = err.Error()
	}
	return &Error{Problems: []Problem{{File: path, Text: text}}, cause: err}
}

func decode(file *File, data []byte, into any) (*File, error) {
	root := reflect.ValueOf(into).Elem()
	d := &decoder{file: file.Path, root: root.Type(), nodes: map[string]*yaml.Node{}, lines: map[string]int{},
		hidden: map[string]bool{}, failed: map[string]bool{}}
	file.d = d
	node, bad := parse(file.Path, data)
	if bad != nil {
		return nil, &Error{Problems: []Problem{*bad}}
	}
	if node != nil {
		d.value("", node, root)
	}
	d.validate("", root)
	if len(d.problems) > 0 {
		slices.SortStableFunc(d.problems, func(a, b Problem) int {
			return cmp.Compare(uint(a.Line-1), uint(b.Line-1)) // those without a line come last
		})
		return nil, &Error{Problems: d.problems}
	}
	return file, nil
}

// parse reads the one document of a file; nil where the file is empty.
func parse(name string, data []byte) (*yaml.Node, *Problem) {
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, syntax(name, data, err)
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, syntax(name, data, err)
	}
	switch err := loader.Load(&second); {
	case err == nil:
		return nil, &Problem{File: name, Line: second.Line, Text: "a second document begins here; the file must have only one"}
	case !errors.Is(err, io.EOF):
		return nil, syntax(name, data, err)
	case len(doc.Content) == 0:
		return nil, nil
	}
	return doc.Content[0], nil
}

// syntax turns the parser's error into a problem with its line and a hint for the usual slips.
func syntax(name string, data []byte, err error) *Problem {
	p := &Problem{File: name, Text: "not valid YAML: " + err.Error()}
	var bad *yaml.LoadError
	if !errors.As(err, &bad) {
		return p
	}
	p.Line = bad.Mark.Line
	p.Text = "not valid YAML: " + bad.Message
	if begin := bad.ContextMark.Line; bad.ContextMsg != "" && begin > 0 && begin < p.Line {
		p.Text += fmt.Sprintf(" (%s that begins in line %d)", bad.ContextMsg, begin)
	}
	if lines := bytes.Split(data, []byte("\n")); p.Line > 0 && p.Line <= len(lines) && bytes.HasPrefix(lines[p.Line-1], []byte("\t")) {
		p.Text += "; indent with blanks, not with a tab"
	}
	return p
}
