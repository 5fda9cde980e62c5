// Package config loads a YAML file into a Go struct and names every mistake in it at once.
//
// The struct is the schema and holds the defaults: a key is a field's yaml tag, what the file does not set stays as it
// was, and an empty file changes nothing. The loader is strict where a mistake could stay unseen: an unknown key, a
// key given twice, a number in quotes with a unit, an alias or a second document are mistakes. Each is a [Problem]
// with its file, line, key and value; an [Error] holds all of them in the order of the file.
//
// Kinds of values: bool, string, int, uint, float64, [time.Duration] (a Go duration, or plain 0), [Size], [Auto],
// structs and pointers to them, slices, and maps with string keys; any takes everything and keeps nothing. A field tagged `config:"secret"` never has its
// value shown. A list in the file replaces the default list; a section without content leaves its defaults.
//
// Rules beyond the type are code: a struct with a Validate method ([Validator]) is asked after decoding and adds its
// findings by key, and the loader supplies the line and the value. The method must not do I/O, so that checking a file
// gives the same answer on every machine.
//
//	cfg := Config{Step: 2}
//	_, err := config.Load("/etc/ctwarden/ctwarden.yaml", &cfg)
//	var bad *config.Error
//	if errors.As(err, &bad) { … bad.Problems … }
package config
