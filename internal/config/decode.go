package config

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// decoder walks a file's nodes and a struct side by side. It never stops at a mistake.
type decoder struct {
	file     string
	root     reflect.Type
	nodes    map[string]*yaml.Node // by path: where each key's value stands
	lines    map[string]int        // by path: where each key stands
	hidden   map[string]bool       // paths whose value must not be shown
	failed   map[string]bool       // paths that have a problem from decoding
	problems []Problem
}

// add reports a mistake at path; the line and the value come from the file.
func (d *decoder) add(path, text string) {
	d.problems = append(d.problems, d.problem(path, text))
}

func (d *decoder) problem(path, text string) Problem {
	p := Problem{File: d.file, Line: d.line(path), Key: path, Text: text}
	if n := d.nodes[path]; n != nil {
		p.Value = d.show(path, n)
	}
	return p
}

func (d *decoder) fail(path, format string, args ...any) {
	d.failed[path] = true
	d.add(path, fmt.Sprintf(format, args...))
}

// line is the line of the key, or of the nearest section above it that the file has.
func (d *decoder) line(path string) int {
	if path == "" {
		return d.lines[path]
	}
	for path != "" {
		if line, ok := d.lines[path]; ok {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 0
}

// show is a value as a message may show it.
func (d *decoder) show(path string, n *yaml.Node) string {
	for p := path; p != ""; p = p[:max(0, strings.LastIndexAny(p, ".["))] {
		if d.hidden[p] {
			return "(hidden)"
		}
	}
	switch n.Kind {
	case yaml.MappingNode:
		return "(a section)"
	case yaml.SequenceNode:
		return "(a list)"
	case yaml.AliasNode:
		return "*" + n.Value
	}
	text := hideUserinfo(n.Value)
	if runes := []rune(text); len(runes) > 80 {
		text = string(runes[:80]) + "..."
	}
	if n.ShortTag() == "!!str" || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Sprintf("%q", text)
	}
	return text
}

// value decodes n into v. A mistake leaves v as it was.
func (d *decoder) value(path string, n *yaml.Node, v reflect.Value) {
	d.nodes[path] = n
	if path == "" {
		d.lines[path] = n.Line
	}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fail(path, "anchors and aliases are not supported; write the value out")
	case v.Kind() == reflect.Interface:
		// Accepted in any form and not kept; a rule may refuse it.
	case v.Kind() == reflect.Struct:
		d.structure(path, n, v)
	case v.Kind() == reflect.Pointer:
		d.pointer(path, n, v)
	case v.Kind() == reflect.Slice:
		d.list(path, n, v)
	case v.Kind() == reflect.Map:
		d.table(path, n, v)
	default:
		d.scalar(path, n, v)
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func (d *decoder) structure(path string, n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(path, "must be a section with keys: %s", strings.Join(keys(v.Type()), ", "))
		return
	}
	d.entries(path, n, func(key string, child *yaml.Node) {
		full := join(path, key)
		for f := range fields(v.Type()) {
			if keyOf(f) != key {
				continue
			}
			d.hidden[full] = f.Tag.Get("config") == "secret"
			d.value(full, child, v.FieldByIndex(f.Index))
			return
		}
		d.nodes[full], d.hidden[full] = child, looksSecret(key) || looksSecret(nearest(key, keys(v.Type())))
		d.fail(full, "%s", unknownKey(key, keys(v.Type()), d.root))
	})
}

// entries calls each with the keys of a mapping and reports those that are no plain text or stand there twice.
func (d *decoder) entries(path string, n *yaml.Node, each func(key string, child *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!merge" || k.Anchor != "" {
			d.problems = append(d.problems, Problem{File: d.file, Line: k.Line, Key: path, Text: "a key must be a plain word"})
			continue
		}
		full := join(path, k.Value)
		if first, twice := seen[k.Value]; twice {
			d.problems = append(d.problems, Problem{File: d.file, Line: k.Line, Key: full, Value: d.show(full, n.Content[i+1]),
				Text: fmt.Sprintf("the key is already set in line %d; remove one of the two", first)})
			continue
		}
		seen[k.Value], d.lines[full] = k.Line, k.Line
		each(k.Value, n.Content[i+1])
	}
}

func (d *decoder) pointer(path string, n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	target := reflect.New(v.Type().Elem())
	if !v.IsNil() {
		target.Elem().Set(v.Elem())
	}
	d.value(path, n, target.Elem())
	v.Set(target)
}

func (d *decoder) list(path string, n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.fail(path, "must be a list, such as [a, b]; [] is the empty list")
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, child := range n.Content {
		full := fmt.Sprintf("%s[%d]", path, i)
		d.lines[full] = child.Line
		d.value(full, child, out.Index(i))
	}
	v.Set(out)
}

func (d *decoder) table(path string, n *yaml.Node, v reflect.Value) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(path, "must be a section, one name: value in each line")
		return
	}
	out := reflect.MakeMap(v.Type())
	d.entries(path, n, func(key string, child *yaml.Node) {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(join(path, key), child, elem)
		out.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), elem)
	})
	v.Set(out)
}

// fields walks the fields of a struct that have a key, those of embedded structs included.
func fields(t reflect.Type) iter.Seq[reflect.StructField] {
	return func(yield func(reflect.StructField) bool) {
		for _, f := range reflect.VisibleFields(t) {
			if f.IsExported() && !f.Anonymous && keyOf(f) != "" && !yield(f) {
				return
			}
		}
	}
}

// keyOf is the field's key: the yaml tag's name. Empty: the field is not part of the file.
func keyOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "-" {
		return ""
	}
	return name
}

// validate asks v and everything below it for its own findings.
func (d *decoder) validate(path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			d.validate(path, v.Elem())
		}
	case reflect.Struct:
		for f := range fields(v.Type()) {
			d.validate(join(path, keyOf(f)), v.FieldByIndex(f.Index))
		}
		if hook, ok := v.Addr().Interface().(Validator); ok {
			hook.Validate(&Problems{d: d, prefix: path})
		}
	case reflect.Slice:
		for i := range v.Len() {
			d.validate(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Map:
		names := v.MapKeys()
		slices.SortFunc(names, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, name := range names {
			elem := reflect.New(v.Type().Elem()).Elem()
			elem.Set(v.MapIndex(name))
			d.validate(join(path, name.String()), elem)
			v.SetMapIndex(name, elem)
		}
	}
}
