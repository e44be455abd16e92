package value

import (
	"bytes"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

func pack(t *testing.T, v any) []byte {
	t.Helper()
	b, err := Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fits decodes v into a T and compares it with want.
func fits[T any](t *testing.T, v any, want T) {
	t.Helper()
	var got T
	if err := Decode(pack(t, v), &got); err != nil {
		t.Errorf("%v into %T: %v", v, got, err)
	} else if !reflect.DeepEqual(got, want) {
		t.Errorf("%v into %T: got %v", v, got, got)
	}
}

func misfits[T any](t *testing.T, values ...any) {
	t.Helper()
	for _, v := range values {
		var got T
		if err := Decode(pack(t, v), &got); err == nil {
			t.Errorf("%#v into %T: got %v, want an error", v, got, got)
		}
	}
}

func TestWhatFitsATypeExactlyIsTaken(t *testing.T) {
	fits(t, 127, int8(127))
	fits(t, -128, int8(-128))
	fits(t, 255, uint8(255))
	fits(t, uint64(math.MaxUint64), uint64(math.MaxUint64))
	fits(t, int64(math.MinInt64), int64(math.MinInt64))
	fits(t, 3, 3.0)
	fits(t, int64(1<<53), float64(1<<53))
	fits(t, uint64(1<<63), float64(1<<63))
	fits(t, int64(math.MinInt64), float64(math.MinInt64))
	fits(t, 1.5, float32(1.5))
	fits(t, math.Inf(1), float32(math.Inf(1)))
	fits(t, "x", "x")
	fits(t, []byte("x"), []byte("x"))
	fits(t, []byte("xy"), [2]byte{'x', 'y'})
	fits(t, []int{1, 2}, [2]int{1, 2})
	fits(t, []any{1, "a"}, []any{int64(1), "a"})
	fits(t, nil, (*int)(nil))
	fits(t, nil, []int(nil))
	fits(t, nil, map[string]int(nil))
	fits(t, nil, any(nil))
	fits(t, nil, struct{}{})
	fits(t, map[string]int{"a": 1}, map[string]int{"a": 1})
	one := 1
	fits(t, 1, &one)
	now := time.Now().UTC().Round(0)
	fits(t, now, now)
	fits(t, netip.MustParseAddr("10.0.0.1"), "10.0.0.1")
	fits(t, "10.0.0.1", netip.MustParseAddr("10.0.0.1"))
	fits(t, map[string]any{"x": 1}, msgpack.RawMessage{0x81, 0xa1, 'x', 1})
}

func TestWhatDoesNotFitIsAnErrorAndNeverRounded(t *testing.T) {
	misfits[int8](t, 128, -129, 300, 1.5, 1.0, nil, "1", []byte("1"), true, []int{1}, map[string]int{}, time.Now())
	misfits[int](t, uint64(1<<63), 1.5, 1.0, math.NaN(), nil, "1", false)
	misfits[uint8](t, 256, -1, 1.0, nil, "1")
	misfits[uint64](t, -1, 1e19, nil)
	misfits[float64](t, int64(1<<53+1), uint64(math.MaxUint64), int64(math.MaxInt64), nil, "1.5", true)
	misfits[float32](t, 0.1, 1e300, 1<<24+1)
	misfits[string](t, 1, nil, []byte("x"), time.Now(), true, []string{"x"})
	misfits[[]byte](t, "x", []int{1}, 1)
	misfits[[2]byte](t, []byte("x"), []byte("xyz"), "xy", nil, []int{1, 2})
	misfits[[2]int](t, []int{1}, []int{1, 2, 3}, nil)
	misfits[bool](t, 1, nil, "true")
	misfits[time.Time](t, 1, "2024-01-01T00:00:00Z", nil, 1.5)
	misfits[[]int](t, []any{1, "a"}, []any{nil}, "x", map[string]int{})
	misfits[map[string]int](t, map[string]any{"a": "x"}, []int{})
	misfits[map[int]int](t, map[string]int{})
	misfits[struct{ A int }](t, nil, []int{1}, map[string]any{"a": "x"}, map[string]any{"a": nil}, map[string]any{"a": 1.5})
	misfits[struct{ A []struct{ B int8 } }](t, map[string]any{"a": []any{map[string]any{"b": 300}}})
	misfits[netip.Addr](t, 1, "no address")
	misfits[error](t, "x")
	misfits[chan int](t, 1)
	misfits[complex128](t, 1.5)
}

func TestErrorsNameThePlace(t *testing.T) {
	var in struct{ Items []struct{ Price int8 } }
	err := Decode(pack(t, map[string]any{"items": []any{map[string]any{"price": 300}}}), &in)
	if err == nil || !strings.Contains(err.Error(), "items: [0]") || !strings.Contains(err.Error(), "300 does not fit a Go int8") {
		t.Fatal(err)
	}
}

type inner struct{ Left, Right int }

type outer struct {
	inner
	*Base
	A        int
	UserID   string
	HTTPPort int
	URL      string
	Named    int       `msgpack:"n"`
	JSON     int       `json:"j"`
	Both     int       `msgpack:"m" json:"x"`
	Empty    string    `msgpack:",omitempty"`
	Zero     time.Time `json:"zero,omitzero"`
	Skipped  int       `msgpack:"-"`
	Own      inner     `msgpack:"own"`
	Right    string    // hides inner's
	private  int
}

type Base struct{ Depth int }

func TestFieldsHaveTheKeysThatTheDocumentationSays(t *testing.T) {
	in := outer{inner: inner{1, 2}, Base: &Base{3}, A: 4, UserID: "u", HTTPPort: 80, URL: "r", Named: 5, JSON: 6,
		Both: 7, Skipped: 8, Own: inner{9, 10}, Right: "right", private: 11}
	var keys map[string]any
	if err := Decode(pack(t, in), &keys); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"left": int64(1), "depth": int64(3), "a": int64(4), "userID": "u", "httpPort": int64(80),
		"url": "r", "n": int64(5), "j": int64(6), "m": int64(7), "right": "right",
		"own": map[string]any{"left": int64(9), "right": int64(10)}}
	if !reflect.DeepEqual(keys, want) {
		t.Fatalf("got %v", keys)
	}
	var back outer
	if err := Decode(pack(t, in), &back); err != nil {
		t.Fatal(err)
	}
	in.Skipped, in.private, in.inner.Right = 0, 0, 0
	if !reflect.DeepEqual(back, in) {
		t.Fatalf("got %+v", back)
	}
	if _, err := Append(nil, struct {
		A int `msgpack:"x"`
		X int
	}{}); err == nil {
		t.Fatal("one key for two fields was taken")
	}
}

func TestUnknownKeysAreSkippedAndMissingOnesLeftAlone(t *testing.T) {
	got := struct{ A, B int }{B: 7}
	if err := Decode(pack(t, map[string]any{"a": 1, "z": []any{map[string]any{"deep": 1}}}), &got); err != nil || got.A != 1 || got.B != 7 {
		t.Fatal(got, err)
	}
}

type tree struct {
	Value int
	Next  *tree `msgpack:",omitempty"`
}

type cyclic struct{ Self *cyclic }

type writesWrong struct{}

func (writesWrong) MarshalMsgpack() ([]byte, error) { return []byte{0x81, 0x01, 0x02}, nil }

type writesItself struct{ n int }

func (w writesItself) EncodeMsgpack(e *msgpack.Encoder) error { return e.EncodeInt(int64(w.n)) }
func (w *writesItself) DecodeMsgpack(d *msgpack.Decoder) (err error) {
	w.n, err = d.DecodeInt()
	return err
}

func TestTypesThatWriteThemselvesAreLookedAt(t *testing.T) {
	fits(t, writesItself{7}, 7)
	fits(t, 7, writesItself{7})
	fits(t, []writesItself{{1}, {2}}, []int{1, 2})
	fits(t, &tree{1, &tree{2, nil}}, tree{1, &tree{2, nil}})
	if _, err := Append(nil, writesWrong{}); err == nil {
		t.Fatal("a key that is not text was written")
	}
}

func TestWhatNoBodyHoldsIsAnErrorAtTheSender(t *testing.T) {
	loop := &cyclic{}
	loop.Self = loop
	var self any
	self = &self
	deep := any(1)
	for range MaxDepth + 1 {
		deep = []any{deep}
	}
	for _, v := range []any{"\xff", []string{"\xed\xa0\x80"}, map[string]int{"\xff": 1}, map[int]int{1: 1}, map[any]any{"a": 1},
		func() {}, make(chan int), complex(1, 2), loop, self, deep, struct{ F func() }{},
		time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if b, err := Append(nil, v); err == nil {
			t.Errorf("%T was written as %d bytes", v, len(b))
		}
	}
	if _, err := Append(nil, deep.([]any)[0]); err != nil {
		t.Error("64 deep:", err)
	}
}

func TestEqualMapsGiveEqualBytes(t *testing.T) {
	v := map[string]int{}
	for _, key := range strings.Fields("the same id with the same type and body joins a task that is there") {
		v[key] = len(key)
	}
	first := pack(t, v)
	for range 20 {
		if !bytes.Equal(pack(t, v), first) {
			t.Fatal("the order changes")
		}
	}
}

func TestZonesAreNotKept(t *testing.T) {
	here := time.Date(2024, 5, 6, 7, 8, 9, 10, time.FixedZone("x", 3600))
	var got any
	if err := Decode(pack(t, here), &got); err != nil || got != here.UTC() {
		t.Fatal(got, err)
	}
}

// The library that everybody knows writes and reads the same bytes, where it is as strict.
func TestTheKnownLibraryAgrees(t *testing.T) {
	for _, v := range []any{nil, true, int64(-5), "text", []byte{1}, 1.5, []any{int64(1), "a"}, map[string]any{"a": int64(1)}} {
		var out bytes.Buffer
		e := msgpack.NewEncoder(&out)
		e.UseCompactInts(true)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), pack(t, v)) {
			t.Errorf("%v: %x and %x", v, out.Bytes(), pack(t, v))
		}
		var theirs any
		if err := msgpack.Unmarshal(pack(t, v), &theirs); err != nil {
			t.Errorf("%v: %v", v, err)
		}
	}
}

func TestDecodeWantsAPointer(t *testing.T) {
	if err := Decode([]byte{1}, 5); err == nil {
		t.Fatal("decoded into a constant")
	}
	if err := Decode([]byte{1}, (*int)(nil)); err == nil {
		t.Fatal("decoded into nothing")
	}
	if err := Decode(nil, new(int)); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
}
