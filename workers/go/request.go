package tusk

import (
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// The values of the attribute reply: accepted and no result; accepted and the result.
const (
	acceptedOnly = 1
	acceptedToo  = 2
)

// request is one thing asked of the broker, from the call to its answer. Before it is queued its
// maker owns it, then the session's goroutine until done is closed, then everybody may read it.
type request struct {
	kind    wire.Kind
	id      TaskID
	name    string // type, stage, topic or question
	body    body
	args    []byte // of a query or control, as msgpack
	reply   int64
	resent  bool
	rerunOK bool
	trace   string    // W3C traceparent; empty: none
	baggage string    // W3C
	patient bool      // a push: waits beyond its deadline while the broker is there
	terms   *terms    // of a submit; nil: none
	follow  *follower // of a submit; nil: nobody listens
	window  *int      // of a stream: chunks on their way; nil: no stream
	stream  *inflow   // of a submit; nil: no stream
	count   int64     // chunks of a credit
	sub     *Subscription
	slow    SlowPolicy      // of a subscribe
	change  *any            // of an update: the value of its body; nil: the body stays
	target  *request        // of a cancel by a context: what it gives up; of a credit: what it is for; nobody waits for the answer
	notify  chan<- *request // gets the request when it ends; has room for it
	early   bool            // its body was written before the broker could say how
	keep    bool            // the ending may be looked at much later

	bounded  bool      // has a deadline that stays
	deadline time.Time // zero: none
	patience time.Duration
	place    int // in the heap of deadlines, from 1; 0: not there

	number  int64 // the request number; 0: not sent in this session
	packet  int64 // that it went out in
	sends   int
	ended   bool
	givenUp bool // ended because its caller has gone

	ending body   // of a success
	counts TaskID // of an ending: of the task whose it is; zero: id
	answer []byte
	err    error
	taken  chan struct{} // of a child: closed when the broker has accepted it
	done   chan struct{}
}

// cost is how many bytes the request takes, roughly, for the bound on what is queued.
func (r *request) cost() int64 {
	return int64(len(r.body.bytes) + r.size() + 20)
}

// size bounds the bytes of the record beside its body.
func (r *request) size() int {
	size := len(r.name) + len(r.args) + len(r.trace) + len(r.baggage) + 80
	if r.terms != nil {
		size += r.terms.size()
	}
	return size
}

// append writes the record.
func (r *request) append(p *packet, now time.Time) {
	attributes := r.attributes(now)
	switch r.kind {
	case wire.Submit:
		p.list(5+attributes.any(), wire.Submit, r.number)
		p.head = wire.AppendBytes(p.head, r.id[:])
		p.head = wire.AppendText(p.head, r.name)
		p.body(r.body.bytes)
	case wire.Push:
		p.list(5+attributes.any(), wire.Push, r.number)
		p.head = wire.AppendBytes(p.head, r.id[:])
		p.head = wire.AppendText(p.head, r.name)
		p.body(r.body.bytes)
	case wire.Publish:
		p.list(4+attributes.any(), wire.Publish, r.number)
		p.head = wire.AppendText(p.head, r.name)
		p.body(r.body.bytes)
	case wire.Cancel:
		p.list(3, wire.Cancel, r.number)
		p.head = wire.AppendBytes(p.head, r.id[:])
	case wire.Update:
		r.appendUpdate(p, attributes)
		return
	case wire.Await:
		p.list(3+attributes.any(), wire.Await, r.number)
		p.head = wire.AppendBytes(p.head, r.id[:])
	case wire.Query, wire.Control:
		n := 3
		if r.args != nil {
			n = 4
		}
		p.list(n, r.kind, r.number)
		p.head = wire.AppendText(p.head, r.name)
		p.head = append(p.head, r.args...)
	default: // subscribe, unsubscribe
		p.list(3+attributes.any(), r.kind, r.number)
		p.head = wire.AppendText(p.head, r.name)
	}
	p.head = attributes.append(p.head)
}

// appendUpdate writes an update: its body, if it has one, comes behind the attributes.
func (r *request) appendUpdate(p *packet, attributes pairs) {
	n := 3 + attributes.any()
	if r.change != nil {
		n = 5
	}
	p.list(n, wire.Update, r.number)
	p.head = wire.AppendBytes(p.head, r.id[:])
	if n > 3 {
		p.head = attributes.pairsOnly(wire.AppendMap(p.head, attributes.len()))
	}
	if r.change != nil {
		p.body(r.body.bytes)
	}
}

// pairs are the attributes of a record: key and value.
type pairs struct {
	n     int
	pairs [8][2]int64 // a value of -1 is true
	texts []textPair  // seldom there
	raw   []byte      // pairs that are written already, seldom there
	rawN  int         // how many
}

type textPair struct {
	key  int64
	text string
}

func (a *pairs) add(key, value int64) {
	a.pairs[a.n] = [2]int64{key, value}
	a.n++
}

// addText adds a text, unless it is empty.
func (a *pairs) addText(key int64, text string) {
	if text != "" {
		a.texts = append(a.texts, textPair{key, text})
	}
}

func (a *pairs) len() int { return a.n + len(a.texts) + a.rawN }

func (a *pairs) any() int { return min(a.len(), 1) }

func (a *pairs) append(b []byte) []byte {
	if a.any() == 0 {
		return b
	}
	return a.pairsOnly(wire.AppendMap(b, a.len()))
}

// pairsOnly writes the pairs without the head of their map.
func (a *pairs) pairsOnly(b []byte) []byte {
	for _, pair := range a.pairs[:a.n] {
		b = wire.AppendUint(b, uint64(pair[0]))
		if pair[1] == -1 {
			b = wire.AppendBool(b, true)
		} else {
			b = wire.AppendUint(b, uint64(pair[1]))
		}
	}
	for _, pair := range a.texts {
		b = wire.AppendUint(b, uint64(pair.key))
		b = wire.AppendText(b, pair.text)
	}
	return append(b, a.raw...)
}

// attributes are those of this sending: times are what is left of them.
func (r *request) attributes(now time.Time) (a pairs) {
	if r.reply != 0 {
		a.add(wire.Reply, r.reply)
	}
	if (r.resent || r.sends > 1) && (r.kind == wire.Submit || r.kind == wire.Push) {
		a.add(wire.Resent, -1)
	}
	if r.body.codec != 0 {
		a.add(wire.Codec, r.body.codec)
	}
	if r.body.compressed {
		a.add(wire.Compression, 1)
	}
	if r.rerunOK {
		a.add(wire.RerunOK, -1)
	}
	a.addText(wire.Trace, r.trace)
	a.addText(wire.Baggage, r.baggage)
	awaits := r.kind == wire.Submit && r.reply != acceptedOnly || r.kind == wire.Await
	if awaits && !r.deadline.IsZero() && !r.patient {
		a.add(wire.Wait, max(1, r.deadline.Sub(now).Milliseconds()))
	}
	if r.follow != nil {
		a.add(wire.Follow, r.follow.bits())
	}
	if r.stream != nil {
		a.add(wire.Stream, int64(*r.window))
	}
	if r.slow != SlowDropOldest {
		a.add(wire.Slow, int64(r.slow))
	}
	if r.terms != nil {
		a.raw, a.rawN = r.terms.append(nil, now)
	}
	return a
}

// deadlines is a binary heap of requests, the earliest first; each knows its place, so that it can be
// taken out when it ends.
type deadlines []*request

func (h *deadlines) add(r *request) {
	*h = append(*h, r)
	r.place = len(*h)
	h.up(r.place)
}

func (h *deadlines) remove(r *request) {
	if r.place == 0 {
		return
	}
	at, last := r.place, len(*h)
	moved := (*h)[last-1]
	(*h)[last-1] = nil
	*h = (*h)[:last-1]
	r.place = 0
	if moved != r {
		(*h)[at-1], moved.place = moved, at
		h.up(at)
		h.down(moved.place)
	}
}

func (h deadlines) up(at int) {
	for at > 1 && h[at-1].deadline.Before(h[at/2-1].deadline) {
		h.swap(at, at/2)
		at /= 2
	}
}

func (h deadlines) down(at int) {
	for {
		child := 2 * at
		if child > len(h) {
			return
		}
		if child < len(h) && h[child].deadline.Before(h[child-1].deadline) {
			child++
		}
		if !h[child-1].deadline.Before(h[at-1].deadline) {
			return
		}
		h.swap(at, child)
		at = child
	}
}

func (h deadlines) swap(i, j int) {
	h[i-1], h[j-1] = h[j-1], h[i-1]
	h[i-1].place, h[j-1].place = i, j
}
