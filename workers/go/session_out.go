package tusk

import (
	"slices"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// room says whether another record with a body of so many bytes may be put. At a bound records wait
// where they are, and more of them fit into the next packet.
func (s *session) room(body int) bool {
	if s.phase != up || s.blocked || s.goodbye || len(s.packets)-s.sent >= sendAhead {
		return false
	}
	waiting := s.bytes.Load()
	if p := s.open; p != nil {
		waiting += p.size + int64(len(p.head))
	}
	return waiting == 0 || waiting+int64(body) < s.terms().Limits.SessionBytes
}

// put returns the packet for one more record, of at most size bytes beside its body, which the caller
// appends at once.
func (s *session) put(size int, body []byte) *packet {
	l := &s.terms().Limits
	own := len(body) >= wire.FrameBody
	if !own {
		size += len(body) + 5
	}
	if p := s.open; p != nil && (p.records >= l.Records || int64(len(p.head)+size) > l.Frame ||
		own && (int64(len(p.bodies)) >= l.Frames || p.size+int64(len(body)) > packetBytes)) {
		s.seal()
	}
	if s.open == nil {
		s.seq++
		s.open = &packet{seq: s.seq, head: appendHeader(s.buffer(), s.number, s.seq, s.received)}
		// The header tells all that has arrived.
		s.acked, s.ackBy = s.received, time.Time{}
	}
	s.open.records++
	return s.open
}

// seal ends the packet that is being filled.
func (s *session) seal() {
	if p := s.open; p != nil {
		p.size += int64(len(p.head))
		s.bytes.Add(p.size)
		s.packets = append(s.packets, p)
		s.open = nil
	}
}

// transmit hands packets to libzmq and says whether it took any.
func (s *session) transmit(now time.Time) (any bool) {
	if s.phase != up || s.socket == nil {
		return false
	}
	s.blocked = false
	for s.sent < len(s.packets) {
		p := s.packets[s.sent]
		if s.socket.Send(p.head, p.bodies) != nil {
			s.blocked = true
			return any
		}
		s.sent++
		any = true
	}
	if !s.ackBy.IsZero() && !now.Before(s.ackBy) {
		lone := appendHeader(make([]byte, 0, headerSize), s.number, 0, s.received)
		if s.socket.Send(lone, nil) == nil {
			s.acked, s.ackBy = s.received, time.Time{}
			any = true
		} else {
			s.ackBy = now.Add(helloRetry)
		}
	}
	return any
}

// acknowledged forgets the packets that arrived.
func (s *session) acknowledged(ack int64) {
	n := 0
	for n < len(s.packets) && s.packets[n].seq <= ack {
		p := s.packets[n]
		s.bytes.Add(-p.size)
		if cap(p.head) <= keptBytes && len(s.spare) < keptBuffers {
			s.spare = append(s.spare, p.head[:0])
		}
		n++
	}
	if n > 0 {
		s.arrives = append(s.arrives, s.packets[:n]...)
		s.packets = slices.Delete(s.packets, 0, n)
		s.sent = max(0, s.sent-n)
	}
}

// packet returns the packet of this number, if it is unacknowledged or what is being read acknowledges it.
func (s *session) packet(number int64) *packet {
	for _, packets := range [...][]*packet{s.arrives, s.packets} {
		if at := slices.IndexFunc(packets, func(p *packet) bool { return p.seq == number }); at >= 0 {
			return packets[at]
		}
	}
	return nil
}

func (s *session) buffer() []byte {
	if n := len(s.spare); n > 0 {
		b := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return b
	}
	return make([]byte, 0, 4096)
}

// say queues a record of the session itself. A broker that asks faster than it reads loses answers.
func (s *session) say(record []byte) {
	if len(s.control) < 1024 {
		s.control = append(s.control, record)
	}
}

func (s *session) writeControl() {
	for len(s.control) > 0 && s.room(0) {
		p := s.put(len(s.control[0]), nil)
		p.head = append(p.head, s.control[0]...)
		s.control = s.control[1:]
	}
}
