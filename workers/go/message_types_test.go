package tusk

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/lz4frame"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

var told = map[string]any{
	"compression": "lz4", "compression_threshold": 1000,
	"messages": map[string]any{
		"types": map[string]any{
			"json":   map[string]any{"codec": 1},
			"plain":  map[string]any{"codec": 2},
			"packed": map[string]any{"codec": 0, "compress": true},
			"loose":  map[string]any{"compress": false},
			"later":  map[string]any{"codec": 9},
		},
		"stages": map[string]any{"json": map[string]any{"codec": 1, "compress": true}},
		"topics": map[string]any{"plain": map[string]any{"codec": 2}},
	},
}

type page struct {
	Text string `msgpack:"text"`
	N    []any  `msgpack:"n"`
}

// The first request is made before the welcome, the others after it.
func TestBodiesAreWrittenAsTheBrokersMessageTypesSay(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	in := page{"äöü", []any{1, 2.5, nil, true, uint64(math.MaxUint64), -3, 1.0}}
	submit := func(taskType string, v any) {
		if _, err := c.Submit(ctx, taskType, v); err != nil {
			t.Error(err)
		}
	}
	submit("json", in)
	l := b.accept(5, told)
	r := l.expect(wire.Submit)
	if want := `{"text":"äöü","n":[1,2.5,null,true,18446744073709551615,-3,1.0]}`; string(r.Body) != want {
		t.Errorf("%s, want %s", r.Body, want)
	}
	if r.Attrs.Codec != 1 || r.Attrs.Compression != 0 {
		t.Errorf("codec %d, compression %d", r.Attrs.Codec, r.Attrs.Compression)
	}
	submit("plain", []byte("\n\x01x"))
	if r = l.expect(wire.Submit); string(r.Body) != "\n\x01x" || r.Attrs.Codec != 2 {
		t.Errorf("%q of codec %d", r.Body, r.Attrs.Codec)
	}
	go c.Push(ctx, "json", strings.Repeat("a", 100))
	r = l.expect(wire.Push)
	text, err := lz4frame.Decompress(r.Body, 1<<20)
	if err != nil || string(text) != `"`+strings.Repeat("a", 100)+`"` || r.Attrs.Codec != 1 {
		t.Errorf("%q of codec %d, %v", text, r.Attrs.Codec, err)
	}
	go c.Publish(ctx, "plain", []byte{})
	if r = l.expect(wire.Publish); len(r.Body) != 0 || r.Attrs.Codec != 2 {
		t.Errorf("%q of codec %d", r.Body, r.Attrs.Codec)
	}
	for _, size := range []struct {
		taskType   string
		length     int
		compressed int64
	}{{"packed", 62, 1}, {"packed", 61, 0}, {"loose", 100_000, 0}, {"other", 2000, 1}} {
		submit(size.taskType, strings.Repeat("a", size.length))
		compressed := int64(0)
		if r = l.expect(wire.Submit); r.Attrs != nil {
			compressed = r.Attrs.Compression
		}
		if compressed != size.compressed {
			t.Errorf("%d bytes for %q: compression %d", size.length, size.taskType, compressed)
		}
	}
}

func TestAValueThatACodecCannotHoldIsToldToItsCaller(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	early, err := c.Submit(ctx, "plain", 5)
	if err != nil {
		t.Fatal(err)
	}
	l := b.accept(5, told)
	_, err = Result[any](ctx, early)
	expectBodyError(t, err, "are plain bytes")
	welcomed(t, c, l)
	for _, wrong := range []struct {
		taskType string
		v        any
		why      string
	}{
		{"json", []byte("x"), "bytes and timestamps cannot be sent as JSON"},
		{"json", []any{time.Unix(1, 0)}, "bytes and timestamps cannot be sent as JSON"},
		{"json", math.Inf(1), "NaN and infinities cannot be sent as JSON"},
		{"plain", map[string]any{"a": 1}, `bodies of "plain" are plain bytes`},
		{"later", 1, "of codec 9, which is unknown here"},
	} {
		_, err := Call[any](ctx, c, wrong.taskType, wrong.v)
		expectBodyError(t, err, wrong.why)
	}
}

func expectBodyError(t *testing.T, err error, why string) {
	t.Helper()
	if !errors.Is(err, ErrBody) || !strings.Contains(err.Error(), why) {
		t.Errorf("%v, want %q", err, why)
	}
}
