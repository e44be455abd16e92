package tusk

import (
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// Push brings an item into a stage of the pipeline and returns when the broker has accepted it, that
// is, when there is room: this is the pusher's back-pressure. Without a deadline it waits as long as
// the broker is there. After an error the item may have been accepted; push it again WithID and
// Resent.
func (c *Client) Push(ctx context.Context, stage string, item any, options ...CallOption) (TaskID, error) {
	r, err := c.push(ctx, stage, item, nil, options)
	if err == nil {
		err = c.await(ctx, r)
	}
	return r.id, err
}

func (c *Client) push(ctx context.Context, stage string, item any, notify chan<- *request,
	options []CallOption) (*request, error) {
	r := &request{kind: wire.Push, name: stage, notify: notify}
	patient := func(r *request) { r.patient = r.patience == 0 }
	return r, c.start(ctx, r, item, append(options[:len(options):len(options)], patient))
}

// PushMany pushes each item, at most 1,024 unanswered at once, and returns how many were accepted. It
// ends at the first error, which says of which item it is by its id.
func PushMany[T any](ctx context.Context, c *Client, stage string, items iter.Seq[T], options ...CallOption) (int, error) {
	var window fifo
	accepted := 0
	first := func() error {
		err := c.await(ctx, window.pop())
		if err == nil {
			accepted++
		}
		return err
	}
	for item := range items {
		if window.len() >= manyInFlight {
			if err := first(); err != nil {
				return accepted + c.settle(&window), err
			}
		}
		r, err := c.push(ctx, stage, item, nil, options)
		if err != nil {
			return accepted + c.settle(&window), err
		}
		window.push(r)
	}
	for window.len() > 0 {
		if err := first(); err != nil {
			return accepted + c.settle(&window), err
		}
	}
	return accepted, nil
}

// settle gives up what is still in the window and says how much of it had been accepted.
func (c *Client) settle(window *fifo) (accepted int) {
	for window.len() > 0 {
		r := window.pop()
		select {
		case <-r.done:
			if r.err == nil {
				accepted++
			}
		default:
			c.giveUp(r)
		}
	}
	return accepted
}

// Publish sends an event to whoever subscribed to the topic and returns when the broker has it. It is
// never sent twice: if the session ends before that, the error is ErrUnavailable.
func (c *Client) Publish(ctx context.Context, topic string, event any, options ...CallOption) error {
	r := &request{kind: wire.Publish, name: topic}
	if err := c.start(ctx, r, event, options); err != nil {
		return err
	}
	return c.await(ctx, r)
}

// Event is one event of a topic.
type Event struct {
	Topic    string
	Sequence int64 // the topic's events are 1, 2, 3, ...
	Missed   int64 // how many events before this one did not arrive
	body     body
	limit    int64
}

// Decode reads what was published into the variable that target points to.
func (e *Event) Decode(target any) error {
	return e.body.read(target, e.limit)
}

// Value reads what was published as the Go column of BODY.md.
func (e *Event) Value() (any, error) {
	var found any
	err := e.Decode(&found)
	return found, err
}

// Subscription gets the events of one topic, across reconnects, until it is closed.
type Subscription struct {
	topic  string
	client *Client
	events chan Event
	err    atomic.Pointer[error]
	once   sync.Once

	// The session's goroutine owns the rest.
	last   int64 // the sequence of the last event that was delivered; 0: none
	closed bool
}

// topic is what this client subscribed to.
type topic struct {
	subscribers []*Subscription
}

// eventBuffer is how many events wait for a subscriber that is slow; more are missed.
const eventBuffer = 4096

// Subscribe subscribes to a topic and returns when the broker has accepted it.
//
//	events, err := client.Subscribe(ctx, "prices")
//	for event := range events.All(ctx) {
//		price, err := event.Value()
//	}
//
// 4,096 events wait for a slow reader; of more the next event tells how many it Missed. ctx is for the
// call only.
func (c *Client) Subscribe(ctx context.Context, name string) (*Subscription, error) {
	sub := &Subscription{topic: name, client: c, events: make(chan Event, eventBuffer)}
	r := &request{kind: wire.Subscribe, name: name, sub: sub}
	if err := c.ask(ctx, r); err != nil {
		return nil, err
	}
	if err := c.await(ctx, r); err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

// Events is the channel of events. It is closed when the subscription ends; Err says why.
func (s *Subscription) Events() <-chan Event { return s.events }

// All yields events until ctx is done or the subscription ends.
func (s *Subscription) All(ctx context.Context) iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		for {
			select {
			case event, ok := <-s.events:
				if !ok || !yield(&event) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// Err is nil until the subscription ended for another reason than Close.
func (s *Subscription) Err() error {
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Close ends the subscription. It may be called again.
func (s *Subscription) Close() {
	s.once.Do(func() { s.client.tell(&request{kind: wire.Unsubscribe, name: s.topic, sub: s}) })
}

// What follows is called by the session's goroutine only.

func (c *Client) deliver(r *wire.Record) {
	subscribed := c.topics[string(r.Name)]
	if subscribed == nil {
		return
	}
	if err := unreadable(r); err != nil {
		if r.Attrs.Unsupported != 0 {
			c.session.say(appendErrorRecord(nil, 0, ErrUnsupported, err.Message, "attribute", r.Attrs.Unsupported))
		}
		return
	}
	event := Event{Topic: string(r.Name), Sequence: r.Ref, body: received(r), limit: c.session.terms().Limits.Body}
	event.body.bytes = slices.Clone(r.Body) // else a slow reader would keep whole packets
	for _, s := range subscribed.subscribers {
		own := event
		if s.last > 0 {
			own.Missed = max(0, r.Ref-s.last-1)
		}
		select {
		case s.events <- own:
			s.last = r.Ref
		default: // slow: the next event that fits tells of the gap
			if s.last == 0 {
				s.last = r.Ref - 1
			}
		}
	}
}

// accepted ends a request that asked for no more than that.
func (c *Client) accepted(r *request) {
	if r.kind == wire.Subscribe && r.sub != nil && !r.sub.closed {
		t := c.topics[r.name]
		if t == nil {
			t = &topic{}
			c.topics[r.name] = t
		}
		t.subscribers = append(t.subscribers, r.sub)
	}
	c.end(r, nil)
}

// unsubscribe takes a subscription out and says whether the broker has to be told.
func (c *Client) unsubscribe(s *Subscription) (tell bool) {
	if s.closed {
		return false
	}
	s.closed = true
	close(s.events)
	t := c.topics[s.topic]
	if t == nil {
		// It was given up before it was accepted; another may be on its way.
		for _, r := range c.numbers {
			if r.kind == wire.Subscribe && r.name == s.topic {
				return false
			}
		}
		return true
	}
	t.subscribers = slices.DeleteFunc(t.subscribers, func(other *Subscription) bool { return other == s })
	if len(t.subscribers) == 0 {
		delete(c.topics, s.topic)
		return true
	}
	return false
}

// resubscribe tells a new session of all topics.
func (c *Client) resubscribe(w *welcome) {
	for name, t := range c.topics {
		if w.Epoch != c.epoch {
			for _, s := range t.subscribers {
				s.last = 0 // another broker counts anew
			}
		}
		c.tell(&request{kind: wire.Subscribe, name: name})
	}
	c.epoch = w.Epoch
}

// endTopic ends all subscriptions of a topic, with the reason.
func (c *Client) endTopic(name string, err error) {
	t := c.topics[name]
	if t == nil {
		return
	}
	delete(c.topics, name)
	for _, s := range t.subscribers {
		s.err.Store(&err)
		s.closed = true
		close(s.events)
	}
}

func (c *Client) closeTopics(err error) {
	for name := range c.topics {
		c.endTopic(name, err)
	}
}
