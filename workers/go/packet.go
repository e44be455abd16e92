package tusk

import (
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// packet is one message on its way out, kept until the broker has acknowledged it.
type packet struct {
	seq     int64
	head    []byte // frame 0
	bodies  [][]byte
	records int64
	size    int64      // bytes of all frames
	results []result   // of a worker: what is lost with it when the session is
	large   []*request // of a client: those whose bodies have frames of their own
	broken  int        // how many connections have ended since it was sent on them
}

// body appends the body of a record: within the frame if it is small, else as a frame of its own.
func (p *packet) body(body []byte) {
	switch {
	case body == nil:
		p.head = wire.AppendNil(p.head)
	case len(body) < wire.FrameBody:
		p.head = wire.AppendBytes(p.head, body)
	default:
		p.bodies = append(p.bodies, body)
		p.size += int64(len(body))
		p.head = wire.AppendUint(p.head, uint64(len(p.bodies)))
	}
}

func (p *packet) list(n int, kind wire.Kind, ref int64) {
	p.head = wire.AppendList(p.head, n)
	p.head = append(p.head, byte(kind)) // all that are sent are below 128
	p.head = wire.AppendUint(p.head, uint64(ref))
}

func appendHeader(b []byte, session, seq, ack int64) []byte {
	b = append(b, 0x94, byte(wire.HeaderKind))
	b = wire.AppendUint(b, uint64(session))
	b = wire.AppendUint(b, uint64(seq))
	return wire.AppendUint(b, uint64(ack))
}

// headerSize is the most that appendHeader writes.
const headerSize = 2 + 3*9

var byeRecord = []byte{0x91, byte(wire.Bye)}

func pong(token int64) []byte {
	return wire.AppendInt([]byte{0x92, byte(wire.Pong)}, token)
}

// appendErrorRecord writes an error record with one detail.
func appendErrorRecord(b []byte, ref int64, code code, message, detail string, number int64) []byte {
	b = wire.AppendList(b, 5)
	b = wire.AppendUint(b, uint64(wire.Error))
	b = wire.AppendUint(b, uint64(ref))
	b = wire.AppendText(b, string(code))
	b = wire.AppendText(b, message)
	b = wire.AppendMap(b, 1)
	b = wire.AppendText(b, detail)
	return wire.AppendInt(b, number)
}
