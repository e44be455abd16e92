package tusk

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/pebbe/zmq4"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// within bounds every wait of a test; none waits that long unless something is broken.
const within = 20 * time.Second

// broker is a real ROUTER socket whose every packet is written by the test: it does what a real
// broker seldom does. It is used by the test's goroutine only.
type broker struct {
	t      *testing.T
	url    string
	socket *zmq4.Socket
	stash  []arrival
}

type arrival struct {
	from   string
	frames [][]byte
}

func newBroker(t *testing.T) *broker {
	b := &broker{t: t, url: "ipc://" + filepath.Join(t.TempDir(), "router")}
	b.open()
	t.Cleanup(b.close)
	return b
}

func (b *broker) open() {
	socket, err := zmq4.NewSocket(zmq4.ROUTER)
	if err == nil {
		err = socket.SetRouterMandatory(1)
	}
	if err == nil {
		err = socket.SetLinger(0)
	}
	if err == nil {
		err = socket.Bind(b.url)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.socket = socket
}

func (b *broker) close() {
	if b.socket != nil {
		b.socket.Close()
		b.socket = nil
	}
	b.stash = nil
}

// arrivalFrom returns the next packet of a peer, "" for any.
func (b *broker) arrivalFrom(from string, wait time.Duration) (arrival, bool) {
	b.t.Helper()
	for i, a := range b.stash {
		if from == "" || a.from == from {
			b.stash = append(b.stash[:i], b.stash[i+1:]...)
			return a, true
		}
	}
	for end := time.Now().Add(wait); ; {
		b.socket.SetRcvtimeo(max(time.Millisecond, time.Until(end)))
		frames, err := b.socket.RecvMessageBytes(0)
		switch {
		case errors.Is(err, zmq4.Errno(syscall.EINTR)):
			continue
		case err != nil:
			return arrival{}, false
		}
		a := arrival{string(frames[0]), frames[1:]}
		if from == "" || a.from == from {
			return a, true
		}
		b.stash = append(b.stash, a)
	}
}

// link is one connection's session as the broker sees it.
type link struct {
	b       *broker
	from    string
	fields  map[string]any // of hello
	session int64
	out, in int64
	acked   int64 // the highest that the peer has acknowledged
	mute    bool  // acknowledges nothing
	records []wire.Record
	raws    [][]byte // of records, as they came
	last    []byte   // of the record that next returned
}

// hello waits for a hello and does not answer it.
func (b *broker) hello() *link {
	b.t.Helper()
	for {
		a, ok := b.arrivalFrom("", within)
		if !ok {
			b.t.Fatal("no hello")
		}
		records, header, err := wire.Decode(a.frames, nil)
		if err != nil {
			b.t.Fatal(err)
		}
		if header != nil || records[0].Kind != wire.Hello {
			continue // of a connection before
		}
		l := &link{b: b, from: a.from, fields: map[string]any{}}
		if err := value.Decode(records[0].Raw, &l.fields); err != nil {
			b.t.Fatal(err)
		}
		return l
	}
}

// accept waits for a hello and welcomes it to a new session, with more fields.
func (b *broker) accept(session int64, more map[string]any) *link {
	b.t.Helper()
	l := b.hello()
	l.welcome(session, false, 0, more)
	return l
}

func (l *link) welcome(session int64, resumed bool, ack int64, more map[string]any) {
	l.b.t.Helper()
	l.session = session
	fields := map[string]any{"session": session, "epoch": 7, "resumed": resumed, "ack": ack}
	for key, field := range more {
		fields[key] = field
	}
	l.bare([]any{wire.Welcome, 1, fields})
}

// bare sends records without a header.
func (l *link) bare(records ...[]any) {
	l.b.t.Helper()
	l.raw(l.encode(nil, records))
}

func (l *link) encode(b []byte, records [][]any) []byte {
	l.b.t.Helper()
	for _, record := range records {
		b = wire.AppendList(b, len(record))
		for _, element := range record {
			if attributes, ok := element.(attributes); ok {
				b = wire.AppendMap(b, len(attributes))
				for key, v := range attributes {
					b = append(wire.AppendUint(b, uint64(key)), pack(l.b.t, v)...)
				}
				continue
			}
			b = append(b, pack(l.b.t, element)...)
		}
	}
	return b
}

// attributes are a record's last element.
type attributes map[int]any

func (l *link) raw(frames ...[]byte) {
	l.b.t.Helper()
	parts := []any{l.from}
	for _, frame := range frames {
		parts = append(parts, frame)
	}
	for end := time.Now().Add(within); ; time.Sleep(time.Millisecond) {
		_, err := l.b.socket.SendMessage(parts...)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			l.b.t.Fatal(err)
		}
	}
}

// send sends records in the session's next packet.
func (l *link) send(records ...[]any) {
	l.b.t.Helper()
	l.out++
	l.sendAs(l.session, l.out, records...)
}

func (l *link) sendAs(session, seq int64, records ...[]any) {
	l.b.t.Helper()
	ack := l.in
	if l.mute {
		ack = 0
	}
	l.raw(l.encode(appendHeader(nil, session, seq, ack), records))
}

// packet takes the next packet with records, and says its number.
func (l *link) packet() (int64, []wire.Record) {
	l.b.t.Helper()
	for {
		a, ok := l.b.arrivalFrom(l.from, within)
		if !ok {
			l.b.t.Fatal("no packet")
		}
		records, header, err := wire.Decode(a.frames, nil)
		if err != nil {
			l.b.t.Fatal(err)
		}
		if header == nil {
			l.b.t.Fatalf("a packet without a header: %v", records)
		}
		if header.Session != l.session {
			l.b.t.Fatalf("a packet of session %d in %d", header.Session, l.session)
		}
		l.acked = max(l.acked, header.Ack)
		if header.Seq == 0 {
			continue
		}
		if header.Seq == l.in+1 {
			l.raws = split(a.frames[0])
		}
		return header.Seq, records
	}
}

// next returns the peer's next record, in order.
func (l *link) next() wire.Record {
	l.b.t.Helper()
	for len(l.records) == 0 {
		seq, records := l.packet()
		switch {
		case seq <= l.in:
			continue
		case seq > l.in+1:
			l.b.t.Fatalf("packet %d after %d", seq, l.in)
		}
		l.in = seq
		l.records = records
	}
	r := l.records[0]
	l.last, l.raws = l.raws[0], l.raws[1:]
	l.records = l.records[1:]
	return r
}

// split returns the records of a packet as they came, without its header.
func split(frame []byte) (raws [][]byte) {
	r := wire.NewReader(frame)
	for r.More() {
		raws = append(raws, r.Skip(wire.MaxDepth))
	}
	return raws[1:]
}

// sent returns the attributes of the record that came last, which are the last of that many elements.
func (l *link) sent(elements int) map[int64]any {
	l.b.t.Helper()
	found := map[int64]any{}
	r := wire.NewReader(l.last)
	if r.List() != elements {
		return found
	}
	for range elements - 1 {
		r.Skip(wire.MaxDepth)
	}
	for range r.Map() {
		key := r.Number()
		var v any
		if err := value.Decode(r.Skip(wire.MaxDepth), &v); err != nil {
			l.b.t.Fatal(err)
		}
		found[key] = v
	}
	return found
}

// expect returns the next record, which must be of this kind.
func (l *link) expect(kind wire.Kind) wire.Record {
	l.b.t.Helper()
	r := l.next()
	if r.Kind != kind {
		l.b.t.Fatalf("got a record of kind %d, want %d: %s", r.Kind, kind, describe(r))
	}
	return r
}

// silent fails when a record comes within so long.
func (l *link) silent(d time.Duration) {
	l.b.t.Helper()
	for end := time.Now().Add(d); ; {
		a, ok := l.b.arrivalFrom(l.from, time.Until(end))
		if !ok {
			return
		}
		if records, _, err := wire.Decode(a.frames, nil); err != nil || len(records) > 0 {
			l.b.t.Fatal("not silent:", records, err)
		}
	}
}

func describe(r wire.Record) string {
	return fmt.Sprintf("ref %d, name %q, text %q, state %d, attributes %+v", r.Ref, r.Name, r.Text, r.State, r.Attrs)
}

func pack(t *testing.T, v any) []byte {
	t.Helper()
	b, err := value.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newTestClient(t *testing.T, b *broker, options Options) *Client {
	t.Helper()
	options.URL = b.url
	c, err := NewClient(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// answered is what a call in another goroutine came to.
type answered[T any] struct {
	value T
	err   error
}

func background[T any](f func() (T, error)) <-chan answered[T] {
	done := make(chan answered[T], 1)
	go func() {
		v, err := f()
		done <- answered[T]{v, err}
	}()
	return done
}

func wait[T any](t *testing.T, done <-chan T) T {
	t.Helper()
	select {
	case v := <-done:
		return v
	case <-time.After(within):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
