package tusk

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// Each packet vector that this SDK could have sent is read, and written again by the code that
// writes it on the wire.
func TestWhatIsWrittenEqualsThePacketVectors(t *testing.T) {
	text, err := os.ReadFile("../../proto/vectors/packets/v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Direction, Bytes string
		Canonical              *bool
		JSON                   struct{ Records [][]any }
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	written := map[wire.Kind]int{}
	for _, c := range cases {
		if c.Direction == "from_broker" || c.Canonical != nil {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			want, err := hex.DecodeString(c.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			var frames [][]byte
			for rest := want; len(rest) > 0; {
				size := binary.BigEndian.Uint32(rest)
				frames = append(frames, rest[4:4+size])
				rest = rest[4+size:]
			}
			records, header, err := wire.Decode(frames, nil)
			if err != nil {
				t.Fatal(err)
			}
			p := &packet{}
			if header != nil {
				p.head = appendHeader(nil, header.Session, header.Seq, header.Ack)
			}
			for i := range records {
				if !writeAgain(t, p, &records[i]) {
					t.Skip("this SDK never writes such a record")
				}
			}
			if len(records) == 0 {
				t.Skip("nothing but what may be ignored")
			}
			var got []byte
			for _, frame := range append([][]byte{p.head}, p.bodies...) {
				got = binary.BigEndian.AppendUint32(got, uint32(len(frame)))
				got = append(got, frame...)
			}
			if bytes.Equal(got, want) {
				for i := range records {
					written[records[i].Kind]++
				}
				return
			}
			if !longer(c.JSON.Records) {
				t.Fatalf("wrote %x\nwant  %x", got, want)
			}
		})
	}
	for _, kind := range []wire.Kind{wire.Pong, wire.Bye, wire.Submit, wire.Cancel, wire.Query, wire.Publish,
		wire.Subscribe, wire.Unsubscribe, wire.Push, wire.Update, wire.Control, wire.Await, wire.Result, wire.Returned} {
		if written[kind] == 0 {
			t.Errorf("no vector of kind %d was written", kind)
		}
	}
}

// longer says that a vector has something that this SDK reads and does not write: elements or
// attributes of others, bodies of small size in frames, an empty map of attributes.
func longer(records [][]any) bool {
	for _, r := range records {
		for _, element := range r[1:] {
			switch element := element.(type) {
			case float64:
				if r[0] == "submit" || r[0] == "update" || r[0] == "result" || r[0] == "publish" {
					return true // a body in a frame
				}
			case map[string]any:
				for key := range element {
					switch key {
					case "hex", "reply", "resent", "compression", "rerun_ok", "wait", "no_retry", "error", "slow":
					default:
						return true
					}
				}
				if len(element) == 0 {
					return true
				}
			case nil:
				return true
			}
		}
	}
	return false
}

func writeAgain(t *testing.T, p *packet, r *wire.Record) bool {
	now := time.Now()
	a := r.Attrs
	if a == nil {
		a = &wire.Attributes{}
	}
	if r.Kind >= wire.Update && a.Unsupported != 0 { // what is not read is not there to be written again
		return false
	}
	q := &request{kind: r.Kind, number: r.Ref, id: r.ID, name: string(r.Name), args: r.Raw, sends: 1,
		slow: SlowPolicy(a.Slow), reply: a.Reply, resent: a.Resent, rerunOK: a.RerunOK, body: body{bytes: r.Body, compressed: a.Compression == 1}}
	if a.Wait > 0 {
		q.deadline = now.Add(time.Duration(a.Wait) * time.Millisecond)
	}
	switch r.Kind {
	case wire.Submit, wire.Push, wire.Publish, wire.Cancel, wire.Query, wire.Control, wire.Subscribe, wire.Unsubscribe, wire.Await:
		q.append(p, now)
	case wire.Update:
		q.change = new(any)
		q.append(p, now)
	case wire.Result:
		answer := result{run: &run{handle: r.Ref}, state: r.State, noRetry: a.NoRetry,
			body: body{bytes: r.Body, compressed: a.Compression == 1}}
		if a.Error != nil {
			answer.failure = &failure{}
			if err := value.Decode(a.Error, answer.failure); err != nil {
				t.Fatal(err)
			}
		}
		s := &session{open: p}
		s.agreed.Store(beforeWelcome())
		(&Worker{session: s}).write(answer)
	case wire.Returned:
		writeReturned(p, returned{r.Ref, wire.Handles(r.Raw)})
	case wire.Pong:
		p.head = append(p.head, pong(r.Ref)...)
	case wire.Bye:
		if len(r.Name) > 0 {
			return false
		}
		p.head = append(p.head, byeRecord...)
	default:
		return false
	}
	return true
}
