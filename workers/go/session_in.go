package tusk

import (
	"errors"
	"slices"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
	"github.com/tuskd/tuskd/workers/go/internal/zmq"
)

// receive takes what has arrived, within a bound, and says whether there was anything.
func (s *session) receive() (any bool) {
	for range readAtOnce {
		if s.socket == nil || s.finished {
			return any
		}
		frames, err := s.socket.Receive()
		if err != nil {
			if errors.Is(err, zmq.ErrFrames) {
				any = true
				continue
			}
			return any
		}
		any = true
		s.arrived(frames, time.Now())
		clear(s.arrives)
		s.arrives = s.arrives[:0]
	}
	return any
}

func (s *session) arrived(frames [][]byte, now time.Time) {
	records, header, err := wire.Decode(frames, s.records[:0])
	if records != nil {
		s.records = records
	}
	switch {
	case header == nil:
		if err == nil {
			s.arrivedBare(records, now)
		}
		return
	case s.phase != up || header.Session != s.number:
		return // of another session; what is missing will be sent again
	}
	s.acknowledged(header.Ack)
	switch {
	case header.Seq == 0:
		return
	case header.Seq <= s.received:
		s.ackBy = now // it came twice, so that the broker does not know
		return
	case header.Seq > s.received+1:
		if s.gapFor != s.received+1 {
			s.gapFor = s.received + 1
			s.say(appendErrorRecord(nil, 0, "gap", "a packet number was skipped", "expected", s.gapFor))
		}
		return
	}
	s.received++
	if s.received-s.acked >= ackPackets {
		s.ackBy = now
	} else if s.ackBy.IsZero() {
		s.ackBy = now.Add(ackDelay)
	}
	var malformed *wire.Malformed
	if errors.As(err, &malformed) {
		s.say(appendErrorRecord(nil, 0, ErrMalformed, malformed.Error(), "record", int64(max(0, malformed.Record))))
		return
	}
	for i := range records {
		if s.phase != up {
			return
		}
		s.apply(&records[i], now)
	}
}

// arrivedBare takes a packet without a header: welcome, or what a broker says where no session is.
func (s *session) arrivedBare(records []wire.Record, now time.Time) {
	for i := range records {
		switch r := &records[i]; r.Kind {
		case wire.Welcome:
			if s.phase == greeting {
				s.welcome(r, now)
			}
		case wire.Error, wire.Bye, wire.Goaway:
			s.apply(r, now)
		}
	}
}

func (s *session) apply(r *wire.Record, now time.Time) {
	switch {
	case r.Kind == wire.Ping:
		s.say(pong(r.Ref))
	case r.Kind == wire.Pong, r.Kind == wire.Welcome:
	case r.Kind == wire.Error && r.Ref == 0:
		s.refused(r, now)
	case r.Kind == wire.Bye:
		s.goodbye = true
		s.reopen(now, s.leaving)
	case r.Kind == wire.Goaway:
		if endpoints, err := decodeValue(r.Raw); err == nil {
			list, _ := endpoints.([]any)
			s.goaway(list)
		}
		s.peer.leaving(string(r.Name), now)
	case !r.Kind.Known():
		s.say(appendErrorRecord(nil, r.Ref, ErrUnsupported, "unknown kind of record", "kind", int64(r.Kind)))
	default:
		s.peer.take(r, now)
	}
}

// refused takes an error about the session or a packet.
func (s *session) refused(r *wire.Record, now time.Time) {
	err := brokerError(r, TaskID{}, s.url)
	switch string(r.Name) {
	case "stale_session":
		// While greeting, hello is on its way already: a packet went out before it.
		if s.phase == up {
			s.disconnect(now)
			s.phase, s.helloDue = greeting, now.Add(s.pause)
			s.pause = min(2*s.pause, longestPause)
		}
		return
	case "gap":
		if s.phase == up {
			s.resend(err.Details["expected"], now)
		}
		return
	case "busy", "full", "shutting_down":
		if s.phase == greeting {
			s.reopen(now, false)
			return
		}
	default:
		if s.phase == greeting {
			s.phase, s.helloDue = down, time.Time{}
			s.peer.hopeless(err)
			if !s.finished {
				s.reopen(now, true) // the config may change
			}
			return
		}
	}
	if number, ok := err.Details["packet"].(int64); ok && err.Code == string(ErrMalformed) &&
		s.peer.refusedPacket(number, err) {
		return
	}
	s.notice(now, s.url+" says "+err.Code+": "+err.Message)
}

// resend goes back to the packet that the broker asks for.
func (s *session) resend(expected any, now time.Time) {
	number, _ := expected.(int64)
	at := slices.IndexFunc(s.packets, func(p *packet) bool { return p.seq == number })
	switch {
	case at >= 0:
		s.sent = at
	case number != s.seq+1:
		s.reopen(now, false) // it asks for what it has acknowledged: this session cannot go on
	}
}

func (s *session) welcome(r *wire.Record, now time.Time) {
	w, err := readWelcome(r)
	if err != nil {
		s.peer.hopeless(newError(ErrVersion, TaskID{}, "%s: %v", s.url, err))
		if !s.finished {
			s.reopen(now, true)
		}
		return
	}
	s.phase, s.helloDue, s.goodbye, s.leaving = up, time.Time{}, false, false
	s.sent, s.blocked, s.gapFor = 0, false, 0
	s.agreed.Store(w)
	if w.Resumed && w.Session == s.number {
		s.acknowledged(w.Ack)
		s.peer.welcomed(w, nil)
		return
	}
	lost := s.packets
	s.number, s.epoch, s.begun = w.Session, w.Epoch, now
	s.packets, s.seq, s.received, s.acked, s.ackBy = nil, 0, 0, 0, time.Time{}
	s.bytes.Store(0)
	s.control = nil
	if lost == nil {
		lost = []*packet{}
	}
	s.peer.welcomed(w, lost)
}

// decodeValue reads a value of a record, such as an answer.
func decodeValue(raw []byte) (found any, err error) {
	err = value.Decode(raw, &found)
	return found, err
}
