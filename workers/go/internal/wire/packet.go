package wire

import "fmt"

// Header opens each packet of a session with acknowledgements.
type Header struct {
	Session, Seq, Ack int64
}

// Record is one record as it came. Its byte slices point into the packet's frames.
type Record struct {
	Kind    Kind
	Ref     int64  // request, handle, recall, token, sequence, slots or version: the second element
	State   int64  // of a result; the level of a log line
	Time    int64  // ms, of a defer or a pause
	Count   int64  // chunks of a credit; of a suspend, how many have to end, 0: all
	Attempt int64  // of a task or item
	Name    []byte // type, handler, topic, pattern, stage, question, error code or reason
	Text    []byte // a message of an error or unsubscribed, or a log line
	Body    []byte // nil: no body
	Raw     []byte // fields, details, an answer's value, handles, ids, endpoints or arguments, as msgpack
	Attrs   *Attributes
	ID      [16]byte
}

// Attributes are the attributes of a record that this version knows.
type Attributes struct {
	Reply, Codec, Compression, Wait, Attempt int64
	Resent, RerunOK, NoRetry, Crashed        bool
	Error, History                           []byte // a map, and a list of maps, as msgpack
	Worker, Trace, Baggage, Reason           []byte
	Checkpoint                               []byte // nil: none
	Task                                     []byte // 16 bytes: the id that counts; nil: it was not said
	Labels                                   []byte // a map, as msgpack; nil: none
	Stream, Index                            int64  // 0: none
	Chunks                                   int64  // if HasChunks
	HasChunks                                bool
	Slow, Missed                             int64
	Retained                                 bool
	TimeLeft                                 int64 // ms, if HasTimeLeft
	HasTimeLeft                              bool
	Unsupported                              int64 // the first unknown odd key; 0: none
	Invalid                                  int64 // the first key whose value has another type than it must have; 0: none
}

// Malformed says why a packet does not decode. It is refused whole.
type Malformed struct {
	Record int // from 0, the header counted; -1: the packet itself
	Why    string
}

func (m *Malformed) Error() string {
	if m.Record < 0 {
		return "malformed packet: " + m.Why
	}
	return fmt.Sprintf("malformed packet: record %d: %s", m.Record, m.Why)
}

// Decode reads a packet whole before anything of it is applied. It appends to records, which may be
// kept and used again. header is nil for a packet without one; it is there for a malformed packet
// too if it was read, since a refused packet has been received.
func Decode(frames [][]byte, records []Record) (_ []Record, header *Header, _ error) {
	if len(frames) == 0 || len(frames[0]) == 0 {
		return nil, nil, &Malformed{-1, "no records"}
	}
	for _, body := range frames[1:] {
		if len(body) == 0 {
			return nil, nil, &Malformed{-1, "empty body frame"}
		}
	}
	d := decoder{Reader: NewReader(frames[0]), frames: frames}
	strange := false
	for n := 0; d.More(); n++ {
		size := len(records)
		if size < cap(records) {
			records = records[:size+1]
			records[size] = Record{}
		} else {
			records = append(records, Record{})
		}
		record := &records[size]
		d.record(record, &header, n)
		if d.failed {
			return nil, header, &Malformed{n, "cut, or an element missing, of another type or out of its range"}
		}
		// A kind of a later version may name frames in a way of its own.
		strange = strange || record.Kind >= Ignorable || !record.Kind.Known()
		if record.Kind == HeaderKind || record.Kind >= Ignorable {
			records = records[:size]
		}
	}
	if d.named != len(frames)-1 && !strange {
		return nil, header, &Malformed{-1, "body frame that no record names"}
	}
	return records, header, nil
}

type decoder struct {
	Reader
	frames [][]byte
	named  int    // how many body frames have been named
	taken  []bool // which, from frame 1
	left   int    // elements of the current record that have not been read
}

// shapes says what the elements behind the kind are: u integer from 0, i integer, s text, d id of 16
// bytes, D the same or nil, o the same or not there at all, e list of ids, k count, b body, m map, l list, h list of handles, v any value, a attributes,
// w duration.
// Behind '?' they may be left out. The letter's place in Record follows from kind and letter.
var shapes = [Ignorable]string{
	Hello: "um", Welcome: "um", Ping: "i", Pong: "i", Error: "ust?m", Bye: "?s", Goaway: "s?l", Chunk: "ub?a",
	Submit: "udsb?a", Cancel: "ud?a", Query: "us?v", Update: "ud?ab", Publish: "usb?a", Subscribe: "us?a",
	Unsubscribe: "us", Push: "uDsb?a", Control: "us?v", Await: "ud?a", Result: "uc?ba", Returned: "uh", Suspend: "ue?k", Progress: "u?ba",
	Log: "uct?a", Checkpoint: "ub", Slots: "u", Defer: "uw", Pause: "uw", Credit: "uok", Accepted: "u",
	Answer: "uv", Event: "usb?a", Unsubscribed: "st", Task: "udsnb?a", Item: "udsnb?a", Recall: "uh", Resume: "u", Drain: "s",
}

func (d *decoder) record(r *Record, header **Header, index int) {
	d.left = d.List()
	if d.left == 0 {
		d.Fail()
		return
	}
	d.left--
	r.Kind = Kind(d.Number())
	if d.failed {
		return
	}
	if r.Kind == HeaderKind {
		if index != 0 || d.left < 3 {
			d.Fail()
			return
		}
		*header = &Header{d.Number(), d.Number(), d.Number()}
		d.left -= 3
	} else if r.Kind < Ignorable {
		d.elements(r, shapes[r.Kind])
	}
	for ; d.left > 0 && !d.failed; d.left-- {
		d.skip(MaxDepth - 1)
	}
}

func (d *decoder) elements(r *Record, shape string) {
	optional := false
	for i := 0; i < len(shape) && !d.failed; i++ {
		if shape[i] == '?' {
			optional = true
			continue
		}
		if d.left == 0 {
			if !optional {
				d.Fail()
			}
			return
		}
		d.left--
		d.element(r, shape[i])
	}
}

func (d *decoder) element(r *Record, letter byte) {
	switch letter {
	case 'u':
		r.Ref = d.Number()
	case 'i':
		r.Ref = d.Signed()
	case 'c':
		r.State = d.Number()
	case 'w':
		r.Time = d.Number()
	case 'k':
		r.Count = d.Number()
	case 'n':
		r.Attempt = d.Number()
	case 's':
		r.Name = d.Text()
	case 't':
		r.Text = d.Text()
	case 'd', 'D', 'o':
		if letter == 'o' && d.Peek() != Bytes {
			d.left++ // a client's credit names a task, a broker's does not
			return
		}
		if letter == 'D' && d.Peek() == Nil {
			d.Nil()
			return
		}
		if id := d.Bytes(); len(id) == 16 {
			r.ID = [16]byte(id)
		} else {
			d.Fail()
		}
	case 'b':
		r.Body = d.body()
	case 'm', 'l', 'v':
		if next := d.Peek(); letter == 'm' && next != Map || letter == 'l' && next != List {
			d.Fail()
		}
		r.Raw = d.Skip(MaxDepth - 1)
	case 'h':
		r.Raw = d.handles()
	case 'e':
		r.Raw = d.ids()
	case 'a':
		r.Attrs = d.attributes()
	}
}

// body reads one of the three forms of a body.
func (d *decoder) body() []byte {
	switch d.Peek() {
	case Nil:
		d.Nil()
		return nil
	case Bytes:
		return d.Bytes()
	case Int:
		n := d.Number()
		if d.failed || n < 1 || n >= int64(len(d.frames)) {
			break
		}
		if d.taken == nil {
			d.taken = make([]bool, len(d.frames))
		}
		if d.taken[n] {
			break
		}
		d.taken[n] = true
		d.named++
		return d.frames[n]
	}
	d.Fail()
	return nil
}

func (d *decoder) handles() []byte {
	at := d.At()
	for n := d.List(); n > 0 && !d.failed; n-- {
		d.Number()
	}
	return d.Since(at)
}

func (d *decoder) ids() []byte {
	at := d.At()
	for n := d.List(); n > 0 && !d.failed; n-- {
		if len(d.Bytes()) != 16 {
			d.Fail()
		}
	}
	return d.Since(at)
}

// Handles reads the list of handles of a recall or returned.
func Handles(raw []byte) []int64 {
	r := NewReader(raw)
	handles := make([]int64, r.List())
	for i := range handles {
		handles[i] = r.Number()
	}
	return handles
}

func (d *decoder) attributes() *Attributes {
	n := d.Map()
	if n == 0 {
		return nil
	}
	a := &Attributes{}
	var seen map[int64]bool
	var low uint64 // the keys below 64 that were there
	for ; n > 0 && !d.failed; n-- {
		key := d.Number()
		if key < 64 {
			if low>>key&1 == 1 {
				d.Fail()
			}
			low |= 1 << key
		} else {
			if seen[key] {
				d.Fail()
			}
			if seen == nil {
				seen = map[int64]bool{}
			}
			seen[key] = true
		}
		if d.failed {
			break
		}
		a.read(key, d.Skip(MaxDepth-2))
	}
	return a
}

// read takes one attribute's value, which is known to be well-formed msgpack.
func (a *Attributes) read(key int64, raw []byte) {
	if raw == nil {
		return
	}
	r := NewReader(raw)
	switch key {
	case Reply:
		a.Reply = r.Number()
	case Codec:
		a.Codec = r.Number()
	case Compression:
		a.Compression = r.Number()
	case Wait:
		a.Wait = r.Number()
	case Attempt:
		a.Attempt = r.Number()
	case Resent:
		a.Resent = r.Bool()
	case RerunOK:
		a.RerunOK = r.Bool()
	case NoRetry:
		a.NoRetry = r.Bool()
	case Crashed:
		a.Crashed = r.Bool()
	case Worker:
		a.Worker = r.Text()
	case Trace:
		a.Trace = r.Text()
	case Baggage:
		a.Baggage = r.Text()
	case Reason:
		a.Reason = r.Text()
	case TimeLeft:
		a.TimeLeft, a.HasTimeLeft = r.Number(), true
	case LastCheckpoint:
		a.Checkpoint = r.Bytes()
	case TaskOf:
		if a.Task = r.Bytes(); len(a.Task) != 16 {
			r.Fail()
		}
	case Labels:
		if r.Peek() != Map {
			r.Fail()
		}
		a.Labels = raw
	case Stream:
		if a.Stream = r.Number(); a.Stream < 1 || a.Stream > MaxStream {
			r.Fail()
		}
	case Index:
		a.Index = r.Number()
	case Chunks:
		a.Chunks, a.HasChunks = r.Number(), true
	case Slow:
		a.Slow = r.Number()
	case Missed:
		a.Missed = r.Number()
	case Retained:
		a.Retained = r.Bool()
	case History:
		if r.Peek() != List {
			r.Fail()
		}
		a.History = raw
	case ErrorMap:
		if r.Peek() != Map {
			r.Fail()
		}
		a.Error = raw
	default:
		if key%2 == 1 && a.Unsupported == 0 {
			a.Unsupported = key
		}
	}
	if r.Failed() && a.Invalid == 0 {
		a.Invalid = key
	}
}

// Known says whether this version has a meaning for the kind.
func (k Kind) Known() bool {
	return k == HeaderKind || k >= Ignorable || shapes[k] != ""
}
