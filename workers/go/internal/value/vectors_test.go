package value

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"
)

const vectors = "../../../../proto/vectors/bodies/v1.json"

type vector struct {
	Name, Bytes, Why string
	Repeat           *struct {
		Hex   string
		Count int
	}
	Value     any
	Refuse    bool
	Canonical *bool
}

func (v vector) body(t *testing.T) []byte {
	text, count := v.Bytes, 1
	if v.Repeat != nil {
		text, count = v.Repeat.Hex, v.Repeat.Count
	}
	body, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Repeat(body, count)
}

func TestVectors(t *testing.T) {
	text, err := os.ReadFile(vectors)
	if err != nil {
		t.Fatal(err)
	}
	var cases []vector
	if err := json.Unmarshal(text, &cases); err != nil || len(cases) == 0 {
		t.Fatal(err, len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			body := c.body(t)
			var got any
			err := Decode(body, &got)
			if c.Refuse {
				if err == nil {
					t.Fatalf("got %#v; must be refused: %s", got, c.Why)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := untag(t, c.Value)
			if !same(got, want) {
				t.Fatalf("got %#v, want %#v", got, want)
			}
			written, err := Append(nil, want)
			if err != nil {
				t.Fatal(err)
			}
			if c.Canonical == nil && !bytes.Equal(written, body) {
				t.Fatalf("wrote %x, want %x", written, body)
			}
		})
	}
}

// untag turns tagged JSON into the Go column of BODY.md.
func untag(t *testing.T, tagged any) any {
	object, ok := tagged.(map[string]any)
	if !ok {
		return tagged
	}
	for tag, content := range object {
		switch tag {
		case "int":
			if n, err := strconv.ParseInt(content.(string), 10, 64); err == nil {
				return n
			}
			n, err := strconv.ParseUint(content.(string), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		case "float":
			f, err := strconv.ParseFloat(content.(string), 64)
			if err != nil {
				t.Fatal(err)
			}
			if math.IsNaN(f) {
				return math.Float64frombits(0x7ff8000000000000) // the NaN of the vectors
			}
			return f
		case "text":
			return content
		case "bytes":
			data, err := hex.DecodeString(content.(string))
			if err != nil {
				t.Fatal(err)
			}
			return data
		case "list":
			list := []any{}
			for _, element := range content.([]any) {
				list = append(list, untag(t, element))
			}
			return list
		case "map":
			pairs := map[string]any{}
			for _, pair := range content.([]any) {
				pairs[pair.([]any)[0].(string)] = untag(t, pair.([]any)[1])
			}
			return pairs
		case "timestamp":
			seconds, err := strconv.ParseInt(content.([]any)[0].(string), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return time.Unix(seconds, int64(content.([]any)[1].(float64))).UTC()
		}
	}
	t.Fatal("unknown tag", tagged)
	return nil
}

// same compares values and their types; NaN is NaN, and -0.0 is not 0.0.
func same(a, b any) bool {
	if x, ok := a.(float64); ok {
		y, ok := b.(float64)
		return ok && (math.IsNaN(x) && math.IsNaN(y) || math.Float64bits(x) == math.Float64bits(y))
	}
	if x, ok := a.([]any); ok {
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !same(x[i], y[i]) {
				return false
			}
		}
		return true
	}
	if x, ok := a.(map[string]any); ok {
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for key := range x {
			if other, there := y[key]; !there || !same(x[key], other) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b) && fmt.Sprintf("%T", a) == fmt.Sprintf("%T", b)
}
