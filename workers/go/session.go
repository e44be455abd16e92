package tusk

import (
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
	"github.com/tuskd/tuskd/workers/go/internal/zmq"
)

const (
	ackDelay       = 40 * time.Millisecond // SPEC: a lone header within 50 ms
	ackPackets     = 64
	welcomeWithin  = 5 * time.Second        // then hello is said again
	helloRetry     = 5 * time.Millisecond   // the socket was not ready for hello
	firstPause     = 100 * time.Millisecond // before a session that ended early is begun again
	longestPause   = 5 * time.Second
	steadyAfter    = 10 * time.Second // a session this old did not end early
	noticeEvery    = 10 * time.Second // at most one line on stderr
	readAtOnce     = 64               // packets before what is ready goes out
	sendAhead      = 32               // packets built but not taken by libzmq
	packetBytes    = 1 << 20          // bodies in one packet; one larger body goes alone
	keptBuffers    = 64
	keptBytes      = 128 << 10
	elsewhereAfter = 5 * time.Second // with no welcome here, when a broker named others
	elsewhereMost  = 16              // of the others that it names
	brokenAtMost   = 3               // connections that may end right after one large packet
)

// phase is how far a connection is.
type phase int

const (
	down     phase = iota // no connection
	greeting              // connected; hello is due or on its way
	up                    // welcomed
)

// peer is the client or worker that a session speaks for. The session's goroutine calls all of it.
type peer interface {
	greet(h *hello)                      // fill in what hello says of this peer
	welcomed(w *welcome, lost []*packet) // the session is up; lost: not resumed, these packets are void
	take(r *wire.Record, now time.Time)  // one record; its slices are the packet's, not copied
	disconnected(now time.Time)          // until welcomed is called again
	flush(now time.Time)                 // put what is ready, while room says so
	tick(now time.Time) (next time.Time) // do what is due; zero: nothing will be
	hopeless(err *Error)                 // the broker does not take this peer
	tooLarge(p *packet, now time.Time)   // connections end on this packet: it will not be sent again
	// refusedPacket: the broker could not read this packet. Whether somebody was told who had asked in it.
	refusedPacket(number int64, err *Error) bool
	leaving(reason string, now time.Time) // goaway: the broker takes nothing new
}

// session speaks TUSK/1 with a broker over one socket. One goroutine, run, owns all of it; others may
// only call wake, unacknowledged and terms.
type session struct {
	url      string
	urls     []string // the first is where it connects now, the next where it goes from there
	peer     peer
	quiet    bool // says nothing on stderr while no broker is there
	instance [16]byte
	socket   *zmq.Socket

	pending  atomic.Bool // a wake-up is on its way
	events   atomic.Bool // the monitor may have one
	signal   chan struct{}
	timer    *time.Timer
	armed    time.Time
	finished bool

	phase          phase
	number         int64 // 0: no session
	epoch          int64
	agreed         atomic.Pointer[welcome]
	begun          time.Time     // of this session
	helloDue       time.Time     // zero: not due
	openDue        time.Time     // zero: the socket is open
	tried          time.Time     // since when this URL is tried
	leaving        bool          // the broker goes and has named others
	elsewhereAfter time.Duration // that constant; a test's may be shorter
	pause          time.Duration
	lostAt         time.Time // when there was last a connection that had been welcomed, or the start
	goodbye        bool      // bye has been sent or received: nothing else is sent
	notified       time.Time

	// Out.
	seq     int64     // of the last packet that was built
	packets []*packet // unacknowledged, oldest first
	arrives []*packet // acknowledged by the packet that is being read
	sent    int       // how many of them libzmq took on this connection
	blocked bool      // libzmq takes no more for now
	open    *packet   // being filled
	bytes   atomic.Int64
	control [][]byte // records of the session itself: pongs, errors
	spare   [][]byte

	// In.
	received int64     // the highest number up to which all packets arrived
	acked    int64     // what the broker has been told of that
	ackBy    time.Time // zero: all is acknowledged
	gapFor   int64     // the number that a gap error asked for
	records  []wire.Record
}

func newSession(url string, p peer, quiet bool) (*session, error) {
	s := &session{url: url, urls: []string{url}, peer: p, quiet: quiet, signal: make(chan struct{}, 1),
		pause: firstPause, elsewhereAfter: elsewhereAfter}
	s.lostAt = time.Now()
	s.tried = s.lostAt
	rand.Read(s.instance[:])
	s.agreed.Store(beforeWelcome())
	s.timer = time.AfterFunc(time.Hour, s.wake)
	s.timer.Stop()
	if err := s.openSocket(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *session) openSocket() (err error) {
	for {
		s.socket, err = zmq.Open(s.urls[0], s.wake, func() {
			s.events.Store(true)
			s.wake()
		})
		if err == nil || len(s.urls) == 1 {
			break
		}
		s.urls = s.urls[1:] // it makes no sense to libzmq; the first one did
	}
	s.events.Store(true)
	return err
}

// wake makes the session's goroutine look at everything. Any goroutine may call it; it never blocks.
func (s *session) wake() {
	if s.pending.Load() || s.pending.Swap(true) {
		return
	}
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// terms is what the last welcome said. Any goroutine may call it.
func (s *session) terms() *welcome { return s.agreed.Load() }

// unacknowledged is how many bytes are on their way to the broker. Any goroutine may call it.
func (s *session) unacknowledged() int64 { return s.bytes.Load() }

// run is the session's life. It returns after finish.
func (s *session) run() {
	for !s.finished {
		s.pending.Store(false)
		s.watch()
		read := s.receive()
		now := time.Now()
		s.due(now)
		next := s.peer.tick(now)
		if s.phase == up && !s.goodbye {
			s.writeControl()
			s.peer.flush(now)
			s.seal()
		}
		// libzmq's descriptor tells the next packet only after a read that found none.
		if sent := s.transmit(now); sent || read || s.finished {
			continue
		}
		s.sleep(now, next)
	}
	s.timer.Stop()
}

// finish ends run, after what can be sent at once has been, and flushes what libzmq has within
// linger. Only from within the session's goroutine.
func (s *session) finish(bye bool, linger time.Duration) {
	s.finished = true
	if s.socket == nil {
		return
	}
	if bye && s.phase == up && !s.goodbye {
		s.goodbye = true
		p := s.put(16, nil)
		p.head = append(p.head, byeRecord...)
		s.seal()
		s.transmit(time.Now())
	}
	s.socket.Close(linger)
	s.socket = nil
}

func (s *session) sleep(now, next time.Time) {
	for _, due := range [...]time.Time{s.ackBy, s.helloDue, s.openDue, s.elsewhereDue(), s.noticeDue()} {
		if !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	if !s.armed.After(now) {
		s.armed = time.Time{}
	}
	if !next.IsZero() && (s.armed.IsZero() || next.Before(s.armed)) {
		s.armed = next
		s.timer.Reset(max(0, next.Sub(now)))
	}
	<-s.signal
}

// watch takes the monitor's events.
func (s *session) watch() {
	if s.socket == nil || !s.events.Swap(false) {
		return
	}
	for {
		switch s.socket.Event() {
		case zmq.Connected:
			s.phase = greeting
			s.helloDue = time.Now()
		case zmq.Disconnected:
			if s.leaving {
				s.reopen(time.Now(), true)
				return
			}
			s.disconnect(time.Now())
		case 0:
			return
		}
	}
}

func (s *session) disconnect(now time.Time) {
	if s.phase == up {
		s.lostAt = now
	}
	s.phase, s.helloDue, s.ackBy = down, time.Time{}, time.Time{}
	// libzmq ends the connection without a word on what is too large for the broker.
	for _, p := range s.packets[:s.sent] {
		if p.size > s.terms().Limits.Frame {
			if p.broken++; p.broken >= brokenAtMost {
				s.peer.tooLarge(p, now)
				s.number = 0 // the others go again in a new session, without this one
			}
		}
	}
	s.sent, s.blocked = 0, false
	s.peer.disconnected(now)
}

// goaway takes the brokers that the one that leaves has named. What runs may still end there, so that
// its bye is waited for.
func (s *session) goaway(endpoints []any) {
	urls := s.urls[:1:1]
	add := func(url string) {
		if !slices.Contains(urls, url) {
			urls = append(urls, url)
		}
	}
	for _, endpoint := range endpoints[:min(len(endpoints), elsewhereMost)] {
		if url, ok := endpoint.(string); ok {
			s.leaving = true
			add(url)
		}
	}
	if s.leaving {
		add(s.url) // last: for when none of these answers
		s.urls = urls
	}
}

// elsewhereDue is when to try the next of the brokers that one has named.
func (s *session) elsewhereDue() time.Time {
	if len(s.urls) == 1 || s.phase == up || !s.openDue.IsZero() {
		return time.Time{}
	}
	since := s.tried
	if s.lostAt.After(since) {
		since = s.lostAt
	}
	return since.Add(s.elsewhereAfter)
}

// reopen begins anew with a new connection and a new session, after a pause that grows while sessions
// end early; elsewhere: with the next broker, if one has named others.
func (s *session) reopen(now time.Time, elsewhere bool) {
	wasUp := s.phase == up
	if wasUp && now.Sub(s.begun) > steadyAfter {
		s.pause = firstPause
	}
	s.disconnect(now)
	s.number = 0
	if elsewhere {
		s.urls = append(s.urls[1:], s.urls[0])
	}
	s.leaving = false
	s.socket.Close(0)
	s.socket = nil
	s.openDue = now.Add(s.pause)
	if elsewhere || wasUp {
		s.tried = s.openDue
	}
	s.pause = min(2*s.pause, longestPause)
}

// due does what a time asks for.
func (s *session) due(now time.Time) {
	if !s.openDue.IsZero() && !now.Before(s.openDue) {
		s.openDue = time.Time{}
		s.goodbye = false
		if err := s.openSocket(); err != nil {
			s.openDue = now.Add(longestPause)
			s.notice(now, err.Error())
		}
	}
	if !s.helloDue.IsZero() && !now.Before(s.helloDue) && s.socket != nil {
		s.sayHello(now)
	}
	if due := s.elsewhereDue(); !due.IsZero() && !now.Before(due) {
		s.reopen(now, true)
	}
	if due := s.noticeDue(); !due.IsZero() && !now.Before(due) {
		s.notice(now, "no broker answers at "+s.urls[0]+"; trying on")
	}
}

func (s *session) sayHello(now time.Time) {
	h := newHello("", s.instance)
	if s.number != 0 {
		h.Session, h.Ack = s.number, &s.received
	}
	s.peer.greet(&h)
	packet, err := h.append(nil)
	if err != nil {
		s.helloDue = time.Time{}
		s.peer.hopeless(newError(ErrInvalid, TaskID{}, "hello: %v", err))
		return
	}
	s.socket.Refresh()
	if err := s.socket.Send(packet, nil); err != nil {
		s.helloDue = now.Add(helloRetry)
		return
	}
	s.helloDue = now.Add(welcomeWithin)
}

// noticeDue is when to say that no broker is there. A client's calls say it themselves.
func (s *session) noticeDue() time.Time {
	if s.quiet || s.phase == up {
		return time.Time{}
	}
	if due := s.lostAt.Add(time.Second); due.After(s.notified.Add(noticeEvery)) {
		return due
	}
	return s.notified.Add(noticeEvery)
}

// notice writes a line on connect problems, at a bounded rate.
func (s *session) notice(now time.Time, text string) {
	if now.Sub(s.notified) < noticeEvery {
		return
	}
	s.notified = now
	fmt.Fprintln(os.Stderr, "tusk: "+text)
}
