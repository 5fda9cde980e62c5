package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// scalar decodes a single value.
func (d *decoder) scalar(path string, n *yaml.Node, v reflect.Value) {
	want := wanted(v)
	switch {
	case n.Kind != yaml.ScalarNode:
		d.fail(path, "must be %s", want)
	case isNull(n):
		d.fail(path, "has no value; give %s, or remove the key for its default", want)
	case !strings.HasPrefix(n.ShortTag(), "!!"):
		d.fail(path, "tags such as %s are not supported; must be %s", n.ShortTag(), want)
	default:
		if err := set(n, v); err != nil {
			d.fail(path, "%v; must be %s", err, want)
		}
	}
}

// errKind is the complaint for a value of another kind, where the value itself says all.
type errKind string

func (e errKind) Error() string { return string(e) }

const (
	notThis  errKind = "is of the wrong type"
	tooLarge errKind = "is out of range"
	quoted   errKind = "is read as a truth value; put it in quotes"
	octal    errKind = "has a leading zero"
)

func set(n *yaml.Node, v reflect.Value) error {
	switch v.Interface().(type) {
	case time.Duration:
		dur, err := parseDuration(n.Value)
		if err != nil {
			return errKind("is not a duration")
		}
		v.SetInt(int64(dur))
		return nil
	case Size:
		size, err := ParseSize(n.Value)
		if err != nil {
			return errKind("is not a size")
		}
		v.SetUint(uint64(size))
		return nil
	case Auto:
		switch a := Auto(n.Value); a {
		case AutoDetect, AutoTrue, AutoFalse:
			v.SetString(n.Value)
			return nil
		}
		return notThis
	}
	return setKind(n, v)
}

func setKind(n *yaml.Node, v reflect.Value) error {
	tag := n.ShortTag()
	switch v.Kind() {
	case reflect.Bool:
		if tag != "!!bool" {
			return notThis
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.String:
		if tag == "!!bool" {
			return quoted
		}
		v.SetString(n.Value)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		if err := whole(n, tag, err); err != nil {
			return err
		}
		v.SetInt(i)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		u, err := strconv.ParseUint(n.Value, 10, v.Type().Bits())
		if err := whole(n, tag, err); err != nil {
			return err
		}
		v.SetUint(u)
	case reflect.Float64:
		return setFloat(n, tag, v)
	default:
		return fmt.Errorf("has a type that the program cannot read (%s)", v.Type())
	}
	return nil
}

// whole judges the outcome of reading a whole number.
func whole(n *yaml.Node, tag string, err error) error {
	digits := strings.TrimLeft(n.Value, "+-")
	switch {
	case tag != "!!int" && tag != "!!float":
		return notThis
	case err != nil && isDigits(digits):
		return tooLarge
	case err != nil:
		return notThis
	case len(digits) > 1 && digits[0] == '0':
		return octal
	}
	return nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func setFloat(n *yaml.Node, tag string, v reflect.Value) error {
	f, err := strconv.ParseFloat(n.Value, 64)
	if tag != "!!int" && tag != "!!float" || err != nil || math.IsNaN(f) || math.IsInf(f, 0) || isHex(n.Value) {
		return notThis
	}
	v.SetFloat(f)
	return nil
}

func isHex(s string) bool { return strings.ContainsAny(s, "xX_") }

// wanted names what a field takes.
func wanted(v reflect.Value) string {
	switch v.Interface().(type) {
	case time.Duration:
		return "a duration such as 500ms, 30s, 10m or 24h, or 0"
	case Size:
		return "a size such as 65536, 64KiB, 10MiB or 1GiB"
	case Auto:
		return "auto, true or false"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number in plain digits"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number in plain digits, not negative"
	default:
		return "a number"
	}
}
