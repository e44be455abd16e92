package wire

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

const vectors = "../../../../proto/vectors/"

func load(t *testing.T, name string, into any) {
	text, err := os.ReadFile(vectors + name)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// split takes the one-buffer form apart.
func split(t *testing.T, text string) (frames [][]byte) {
	buffer, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for len(buffer) > 0 {
		size := binary.BigEndian.Uint32(buffer)
		frames = append(frames, buffer[4:4+size])
		buffer = buffer[4+size:]
	}
	return frames
}

func TestMalformedVectorsAreRefusedWholeAndTheRecordNamed(t *testing.T) {
	var cases []struct {
		Name, Bytes, Error string
		Record             *int
	}
	load(t, "malformed/v1.json", &cases)
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			records, _, err := Decode(split(t, c.Bytes), nil)
			if c.Error != "malformed" {
				if err != nil {
					t.Fatal("well-formed, but refused:", err)
				}
				return
			}
			var malformed *Malformed
			if !errors.As(err, &malformed) || records != nil {
				t.Fatalf("taken: %v, error %v", records, err)
			}
			want := -1
			if c.Record != nil {
				want = *c.Record
			}
			if malformed.Record != want {
				t.Fatalf("blames record %d, want %d: %v", malformed.Record, want, err)
			}
		})
	}
}

var kindNames = map[string]Kind{"header": HeaderKind, "hello": Hello, "welcome": Welcome, "ping": Ping, "pong": Pong,
	"error": Error, "bye": Bye, "goaway": Goaway, "chunk": Chunk, "submit": Submit, "cancel": Cancel, "query": Query, "update": Update, "await": Await, "publish": Publish,
	"subscribe": Subscribe, "unsubscribe": Unsubscribe, "push": Push, "control": Control, "result": Result, "returned": Returned,
	"suspend": Suspend, "progress": Progress, "log": Log, "checkpoint": Checkpoint,
	"slots": Slots, "defer": Defer, "pause": Pause, "credit": Credit, "accepted": Accepted, "answer": Answer, "event": Event, "unsubscribed": Unsubscribed, "task": Task, "item": Item,
	"recall": Recall, "resume": Resume, "drain": Drain}

// plain turns msgpack into what encoding/json makes of the vectors' JSON.
func plain(t *testing.T, raw []byte) any {
	r := NewReader(raw)
	v := plainNext(t, &r)
	if r.Failed() || r.More() {
		t.Fatalf("not one value: %x", raw)
	}
	return v
}

func plainNext(t *testing.T, r *Reader) any {
	switch r.Peek() {
	case Nil:
		r.Nil()
		return nil
	case Bool:
		return r.Bool()
	case Int:
		return float64(r.Signed())
	case Float:
		return r.Float()
	case Text:
		return string(r.Text())
	case Bytes:
		return map[string]any{"hex": hex.EncodeToString(r.Bytes())}
	case List:
		list := make([]any, r.List())
		for i := range list {
			list[i] = plainNext(t, r)
		}
		return list
	case Map:
		pairs := map[string]any{}
		for range r.Map() {
			key := string(r.Text())
			pairs[key] = plainNext(t, r)
		}
		return pairs
	}
	t.Fatal("nothing more")
	return nil
}

func TestPacketVectorsAreReadAsTheirJSONSays(t *testing.T) {
	var cases []struct {
		Name, Bytes string
		JSON        struct {
			Records [][]any
			Frames  []struct{ Hex string }
		}
	}
	load(t, "packets/v1.json", &cases)
	if len(cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			records, header, err := Decode(split(t, c.Bytes), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.JSON.Records {
				name, known := want[0].(string)
				if !known {
					continue // may be ignored, and is
				}
				kind := kindNames[name]
				if kind == HeaderKind {
					if got := []any{float64(header.Session), float64(header.Seq), float64(header.Ack)}; !reflect.DeepEqual(got, want[1:4]) {
						t.Fatalf("header %v, want %v", got, want)
					}
					continue
				}
				if records[0].Kind != kind {
					t.Fatalf("kind %d, want %s", records[0].Kind, name)
				}
				compare(t, &records[0], want[1:], func(n int) string { return c.JSON.Frames[n-1].Hex })
				records = records[1:]
			}
			if len(records) != 0 {
				t.Fatal("more records than there are", records)
			}
		})
	}
}

// compare looks at each element that the record's shape knows.
func compare(t *testing.T, r *Record, want []any, frame func(int) string) {
	t.Helper()
	bytes := func(b []byte) any {
		if b == nil {
			return nil
		}
		return map[string]any{"hex": hex.EncodeToString(b)}
	}
	at := 0
	for _, letter := range strings.ReplaceAll(shapes[r.Kind], "?", "") {
		if at == len(want) {
			break
		}
		expected := want[at]
		if _, number := expected.(float64); letter == 'o' && number {
			continue // to a worker: there is no id
		}
		at++
		var got any
		switch letter {
		case 'u', 'i':
			got = float64(r.Ref)
		case 'c':
			got = float64(r.State)
		case 'w':
			got = float64(r.Time)
		case 'n':
			got = float64(r.Attempt)
		case 's':
			got = string(r.Name)
		case 't':
			got = string(r.Text)
		case 'k':
			got = float64(r.Count)
		case 'd', 'D', 'o':
			if got = bytes(r.ID[:]); expected == nil && r.ID == [16]byte{} {
				got = nil
			}
		case 'b':
			got = bytes(r.Body)
			if n, ok := expected.(float64); ok {
				expected = map[string]any{"hex": frame(int(n))}
			}
		case 'a':
			compareAttributes(t, r.Attrs, expected.(map[string]any))
			continue
		default:
			got = plain(t, r.Raw)
		}
		if !reflect.DeepEqual(got, expected) {
			t.Errorf("%c of kind %d: got %v, want %v", letter, r.Kind, got, expected)
		}
	}
}

// terms are what only a broker reads.
var terms = map[string]int64{"delay": Delay, "deadline": Deadline, "run_timeout": RunTimeout, "attempts": Attempts,
	"backoff": Backoff, "priority": Priority, "heartbeat_timeout": HeartbeatTimeout, "no_retry_on": NoRetryOn, "follow": Follow,
	"retention": Retention, "unique": Unique, "unique_policy": UniquePolicy, "unique_for": UniqueFor,
	"order_key": OrderKey, "limit_key": LimitKey, "group": Group, "cost": Cost,
	"needs": Needs, "sticky_key": StickyKey, "parent": Parent}

func compareAttributes(t *testing.T, a *Attributes, want map[string]any) {
	t.Helper()
	if a == nil {
		a = &Attributes{}
	}
	got := map[string]any{"reply": float64(a.Reply), "resent": a.Resent, "codec": float64(a.Codec),
		"compression": float64(a.Compression), "rerun_ok": a.RerunOK, "wait": float64(a.Wait), "no_retry": a.NoRetry,
		"crashed": a.Crashed, "attempt": float64(a.Attempt), "worker": string(a.Worker), "trace": string(a.Trace),
		"baggage": string(a.Baggage), "reason": string(a.Reason), "time_left": float64(a.TimeLeft),
		"stream": float64(a.Stream), "index": float64(a.Index), "chunks": float64(a.Chunks),
		"slow": float64(a.Slow), "missed": float64(a.Missed), "retained": a.Retained}
	if a.Labels != nil {
		got["labels"] = plain(t, a.Labels)
	}
	if a.Checkpoint != nil {
		got["checkpoint"] = map[string]any{"hex": hex.EncodeToString(a.Checkpoint)}
	}
	if a.Task != nil {
		got["task"] = map[string]any{"hex": hex.EncodeToString(a.Task)}
	}
	if a.History != nil {
		got["history"] = plain(t, a.History)
	}
	if a.Error != nil {
		got["error"] = plain(t, a.Error)
	}
	asks := a.Unsupported == 0
	for name, expected := range want {
		if _, err := strconv.Atoi(name); err == nil {
			continue // has no name, and is skipped
		}
		if term, ok := terms[name]; ok {
			asks = asks || term == a.Unsupported
			continue
		}
		if !reflect.DeepEqual(got[name], expected) {
			t.Errorf("attribute %s: got %v, want %v", name, got[name], expected)
		}
	}
	if !asks || a.Invalid != 0 {
		t.Errorf("unsupported %d, invalid %d", a.Unsupported, a.Invalid)
	}
}
