package tusk

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// This is the client's side of the session's goroutine, which alone calls it.

func (c *Client) greet(h *hello) {
	h.Role = "client"
	h.Name = firstOf(c.options.Name, h.Name)
}

// collect takes what callers have queued.
func (c *Client) collect() {
	c.mu.Lock()
	c.queue, c.fresh = c.fresh[:0], c.queue
	c.mu.Unlock()
	for i, r := range c.fresh {
		c.fresh[i] = nil
		switch {
		case r.kind == wire.Cancel && r.target != nil:
			c.abandon(r)
			continue
		case r.kind == wire.Unsubscribe && r.sub != nil && !c.unsubscribe(r.sub, nil):
			c.end(r, nil)
			continue
		case r.kind == wire.Subscribe && r.sub != nil:
			c.subscribing[r.name]++
		}
		if !r.deadline.IsZero() {
			c.dates.add(r)
		}
		c.wait(r)
	}
}

// wait puts a request where it waits to be sent.
func (c *Client) wait(r *request) {
	if r.kind == wire.Push {
		c.pushes.push(r)
	} else {
		c.backlog.push(r)
	}
}

// abandon ends a request whose caller has gone; the broker is told if it may have it.
func (c *Client) abandon(r *request) {
	target := r.target
	if target.ended {
		c.end(r, nil)
		return
	}
	sent := target.sends > 0
	target.givenUp = true
	c.end(target, &TaskError{State: string(ErrCancelled), ID: target.id, TaskType: target.name,
		Message: "its caller gave it up"})
	if sent && target.kind == wire.Submit {
		c.backlog.push(r)
	} else {
		c.end(r, nil)
	}
}

func (c *Client) tick(now time.Time) (next time.Time) {
	c.collect()
	for len(c.dates) > 0 && !c.dates[0].deadline.After(now) {
		c.expire(c.dates[0], now)
	}
	if len(c.dates) > 0 {
		next = c.dates[0].deadline
	}
	if due := c.closingTick(now); !due.IsZero() && (next.IsZero() || due.Before(next)) {
		next = due
	}
	return next
}

func (c *Client) expire(r *request, now time.Time) {
	there := c.session.phase == up
	if r.patient && there {
		c.dates.remove(r)
		r.deadline = now.Add(r.patience)
		c.dates.add(r)
		return
	}
	if there {
		c.end(r, c.timeout(r))
		return
	}
	text := "no broker answers at " + c.options.URL
	if r.sends > 0 {
		text += "; the task was sent and may go on"
	}
	c.end(r, c.failure(r, ErrUnavailable, "%s", text))
}

// closingTick carries on what Close began. It says when to look again.
func (c *Client) closingTick(now time.Time) time.Time {
	c.mu.Lock()
	closing := c.closing
	c.mu.Unlock()
	if !closing {
		return time.Time{}
	}
	if c.closeBy.IsZero() {
		c.closeBy = now.Add(closeWithin)
	}
	s := c.session
	idle := c.backlog.len()+c.pushes.len() == 0 && s.open == nil && s.sent == len(s.packets) && len(c.held) == 0
	if !(idle && (s.phase == up || len(c.numbers) == 0)) && now.Before(c.closeBy) {
		return c.closeBy
	}
	unfinished, unsent := 0, 0
	for _, r := range c.everything() {
		if r.kind == wire.Submit || r.kind == wire.Push {
			unfinished++
			if r.sends == 0 {
				unsent++
			}
		}
		c.end(r, c.failure(r, ErrClosed, "the client was closed"))
	}
	if unfinished > 0 {
		fmt.Fprintf(os.Stderr, "tusk: closed with %d tasks unfinished, %d of them never sent to %s\n",
			unfinished, unsent, c.options.URL)
	}
	c.closeTopics(c.failure(&request{}, ErrClosed, "the client was closed"))
	s.finish(true, closeWithin)
	return time.Time{}
}

// everything returns all requests without an answer, in the order in which they were asked, and
// leaves no queue with any.
func (c *Client) everything() []*request {
	sent := make([]*request, 0, len(c.numbers))
	for _, r := range c.numbers {
		sent = append(sent, r)
	}
	slices.SortFunc(sent, func(a, b *request) int { return cmp.Compare(a.number, b.number) })
	for _, r := range sent {
		c.unsend(r)
	}
	all := slices.Concat(sent, c.held, c.backlog.all(), c.pushes.all())
	c.held = nil
	return slices.DeleteFunc(all, func(r *request) bool { return r.ended })
}

// end gives a request its answer: the result that it holds, or err.
func (c *Client) end(r *request, err error) {
	if r.ended {
		return
	}
	r.ended, r.err = true, err
	c.dates.remove(r)
	if r.kind == wire.Subscribe && r.sub != nil {
		if c.subscribing[r.name]--; c.subscribing[r.name] == 0 {
			delete(c.subscribing, r.name)
		}
	}
	if r.number != 0 {
		delete(c.numbers, r.number)
		if r.kind == wire.Push {
			c.pushing--
		}
	}
	c.pending.Add(-1)
	if r.number == 0 {
		c.queued.Add(-r.cost())
	}
	if r.follow != nil {
		r.follow.finish(r.resolve)
	} else {
		r.resolve()
	}
}

// accept tells who waits for that. In a new session the broker says so again.
func (r *request) accept() {
	select {
	case <-r.taken:
	default:
		close(r.taken)
	}
}

// resolve tells those who wait for the request.
func (r *request) resolve() {
	close(r.done)
	if r.notify != nil {
		select {
		case r.notify <- r:
		default: // has no room only when its caller no longer reads
		}
	}
}

func (c *Client) flush(now time.Time) {
	if c.leaves {
		return
	}
	for c.backlog.len() > 0 && c.session.room(len(c.backlog.first().body.bytes)) {
		c.send(c.backlog.pop(), now)
	}
	window := int(c.session.terms().Limits.PushWindow)
	for c.pushes.len() > 0 && c.pushing < window && c.session.room(len(c.pushes.first().body.bytes)) {
		if r := c.pushes.pop(); !r.ended {
			c.pushing++
			c.send(r, now)
		}
	}
}

// send writes a request, unless it has ended.
func (c *Client) send(r *request, now time.Time) {
	if r.ended {
		return
	}
	if r.kind == wire.Credit {
		c.sendCredit(r)
		return
	}
	if r.early {
		if err := c.writeAgain(r); err != nil {
			if r.kind == wire.Push {
				c.pushing--
			}
			c.end(r, err)
			return
		}
	}
	c.queued.Add(-r.cost())
	c.last++
	r.number = c.last
	r.sends++
	c.numbers[r.number] = r
	p := c.session.put(r.size(), r.body.bytes)
	r.packet = p.seq
	r.append(p, now)
	if len(r.body.bytes) >= wire.FrameBody {
		p.large = append(p.large, r)
	}
}

// sendCredit gives credit to a stream that was asked for in this session; it has no answer.
func (c *Client) sendCredit(r *request) {
	if stream := r.target; stream.number != 0 {
		p := c.session.put(r.size(), nil)
		p.list(4, wire.Credit, stream.number)
		p.head = wire.AppendUint(wire.AppendBytes(p.head, r.id[:]), uint64(r.count))
	}
	c.end(r, nil)
}

func (c *Client) take(r *wire.Record, now time.Time) {
	switch r.Kind {
	case wire.Event:
		c.deliver(r)
		return
	case wire.Unsubscribed:
		c.unsubscribed(r)
		return
	}
	asked := c.numbers[r.Ref]
	if asked == nil {
		return // given up, or its time is over
	}
	switch r.Kind {
	case wire.Result:
		if !c.readable(r, asked) {
			return
		}
		if asked.stream != nil {
			asked.stream.end(r)
		}
		if r.Attrs != nil && r.Attrs.Task != nil {
			asked.counts = TaskID(r.Attrs.Task)
		}
		if r.State == wire.Succeeded {
			asked.ending = received(r)
			if asked.keep && len(r.Body) < wire.FrameBody {
				asked.ending.bytes = slices.Clone(r.Body) // else it would keep the whole packet
			}
			c.end(asked, nil)
		} else {
			c.end(asked, taskError(r, asked))
		}
	case wire.Chunk:
		if asked.stream != nil && c.readable(r, asked) {
			asked.stream.take(r)
		}
	case wire.Accepted:
		if asked.kind != wire.Submit || asked.reply == acceptedOnly {
			c.accepted(asked)
		} else if asked.taken != nil {
			asked.accept()
		}
	case wire.Progress, wire.Log:
		if asked.follow != nil && unreadable(r) == nil {
			asked.follow.take(r, c.session.terms().Limits.Body)
		}
	case wire.Answer:
		asked.answer = slices.Clone(r.Raw)
		c.end(asked, nil)
	case wire.Error:
		if string(r.Name) == "shutting_down" && asked.mayWaitForAnother() {
			c.hold(asked)
			return
		}
		c.refused(asked, brokerError(r, asked.id, c.options.URL))
	}
}

// readable ends a request whose result or chunk this SDK does not understand.
func (c *Client) readable(r *wire.Record, asked *request) bool {
	err := unreadable(r)
	if err == nil {
		return true
	}
	err.ID, err.URL = asked.id, c.options.URL
	if err.Code == string(ErrUnsupported) && r.Attrs.Unsupported != 0 {
		c.session.say(appendErrorRecord(nil, r.Ref, ErrUnsupported, err.Message, "attribute", r.Attrs.Unsupported))
	}
	c.end(asked, err)
	return false
}

// mayWaitForAnother says whether the next broker may answer what this one does not: what has an id.
func (r *request) mayWaitForAnother() bool {
	return r.kind == wire.Submit || r.kind == wire.Push || r.kind == wire.Await
}

func (c *Client) refused(r *request, err *Error) {
	if r.kind == wire.Subscribe && r.sub == nil {
		c.endTopic(r.name, err)
	}
	c.end(r, asDuplicate(err))
}

func (c *Client) refusedPacket(number int64, err *Error) (any bool) {
	for _, r := range c.numbers {
		if r.packet == number {
			own := *err
			own.ID = r.id
			c.refused(r, &own)
			any = true
		}
	}
	return any
}

// hold keeps a request for when a broker is back; this is no ending.
func (c *Client) hold(r *request) {
	c.unsend(r)
	c.held = append(c.held, r)
}

// unsend makes a request one that waits to be sent.
func (c *Client) unsend(r *request) {
	if r.number == 0 {
		return
	}
	delete(c.numbers, r.number)
	r.number = 0
	if r.stream != nil {
		r.stream.again()
	}
	if r.kind == wire.Push {
		c.pushing--
	}
	c.queued.Add(r.cost())
}

func (c *Client) leaving(string, time.Time) { c.leaves = true }

func (c *Client) disconnected(time.Time) {}

func (c *Client) welcomed(w *welcome, lost []*packet) {
	c.leaves = false
	if lost == nil {
		for _, r := range c.held {
			c.wait(r)
		}
		c.held = nil
		return
	}
	for _, r := range c.everything() {
		switch size := int64(len(r.body.bytes)); {
		case r.kind == wire.Publish && r.sends > 0:
			c.end(r, c.failure(r, ErrUnavailable,
				"the session at %s ended before the event was accepted; it may or may not have gone out", c.options.URL))
		case r.kind == wire.Subscribe && r.sub == nil, r.kind == wire.Unsubscribe, r.kind == wire.Credit:
			c.end(r, nil) // the new session knows of no topic yet, and of no chunk
		case size > w.Limits.Body:
			c.end(r, c.failure(r, ErrTooLarge, "the body has %d bytes, the limit `body` is %d", size, w.Limits.Body))
		default:
			c.wait(r)
		}
	}
	c.sessions++
	c.resubscribe(w)
}

func (c *Client) hopeless(err *Error) {
	c.collect() // what was asked before the broker said so, too
	for _, r := range c.everything() {
		own := *err
		own.ID, own.URL = r.id, c.options.URL
		c.end(r, &own)
	}
}

func (c *Client) tooLarge(p *packet, _ time.Time) {
	for _, r := range p.large {
		c.end(r, c.failure(r, ErrTooLarge,
			"the connection to %s ends whenever this body of %d bytes is sent", c.options.URL, len(r.body.bytes)))
	}
}

func (c *Client) timeout(r *request) *Error {
	text := "no answer in time; the task goes on"
	if r.kind != wire.Submit && r.kind != wire.Await {
		text = "no answer in time"
	} else if r.sends == 0 {
		text = "could not be sent in time"
	}
	err := c.failure(r, ErrTimeout, "%s", text)
	err.cause = context.DeadlineExceeded
	return err
}
