package value

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// field is one field of a struct as a pair of a map.
type field struct {
	key       string
	index     []int
	omitEmpty bool
	omitZero  bool
	encode    encoder
	decode    decoder
}

// fieldsOf lists the pairs of a struct. The key is the name in the tag `msgpack`, else in the tag
// `json`, else the field's name with its first word in lower case (A: a, UserID: userID, ID: id,
// HTTPPort: httpPort). Fields of an embedded struct without a tag are the outer struct's; of two
// with one key the less deep one counts, as in Go.
func fieldsOf(t reflect.Type) ([]field, error) {
	var fields []field
	place := map[string]int{}
	hidden := map[string]bool{} // embedded structs that are one value under their own key
	for _, f := range reflect.VisibleFields(t) {
		if within(hidden, f.Index) {
			continue
		}
		tag, tagged := f.Tag.Lookup("msgpack")
		if !tagged {
			tag, tagged = f.Tag.Lookup("json")
		}
		name, options, _ := strings.Cut(tag, ",")
		if f.Anonymous {
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && (!tagged || name == "") && !special(inner) {
				continue
			}
			hidden[fmt.Sprint(f.Index)] = true
		}
		if !f.IsExported() || tag == "-" {
			continue
		}
		if name == "" {
			name = firstLower(f.Name)
		}
		entry := field{key: name, index: f.Index}
		for option := range strings.SplitSeq(options, ",") {
			entry.omitEmpty = entry.omitEmpty || option == "omitempty"
			entry.omitZero = entry.omitZero || option == "omitzero"
		}
		if at, twice := place[name]; twice {
			other := fields[at]
			switch {
			case len(other.index) == len(entry.index):
				return nil, fmt.Errorf("%v has two fields with the key %q", t, name)
			case len(other.index) > len(entry.index):
				fields[at] = entry
			}
			continue
		}
		place[name] = len(fields)
		fields = append(fields, entry)
	}
	return fields, nil
}

func within(hidden map[string]bool, index []int) bool {
	for n := 1; n < len(index); n++ {
		if hidden[fmt.Sprint(index[:n])] {
			return true
		}
	}
	return false
}

// firstLower turns a Go name's first word to lower case: a run of capitals is one word, of which the
// last capital begins the next word when a small letter follows.
func firstLower(name string) string {
	letters := []rune(name)
	for i := range letters {
		if !unicode.IsUpper(letters[i]) {
			break
		}
		if i > 0 && i+1 < len(letters) && unicode.IsLower(letters[i+1]) {
			break
		}
		letters[i] = unicode.ToLower(letters[i])
	}
	return string(letters)
}
