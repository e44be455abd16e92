package tusk

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// Publish sends an event to whoever subscribed to the topic and returns when the broker has it. It is
// never sent twice: if the session ends before that, the error is ErrUnavailable.
func (c *Client) Publish(ctx context.Context, topic string, event any, options ...CallOption) error {
	r := &request{kind: wire.Publish, name: topic}
	if err := c.start(ctx, r, event, options); err != nil {
		return err
	}
	return c.await(ctx, r)
}

// Clear publishes an event without a body, so that a topic which keeps its last event forgets it. It
// waits and fails as Publish does.
func (c *Client) Clear(ctx context.Context, topic string, options ...CallOption) error {
	r := &request{kind: wire.Publish, name: topic}
	if err := c.startWritten(ctx, r, options); err != nil {
		return err
	}
	return c.await(ctx, r)
}

// Event is one event of a topic.
type Event struct {
	Topic    string
	Sequence int64 // the topic's events are 1, 2, 3, ...
	Missed   int64 // how many events of its topic, just before this one, did not arrive
	Retained bool  // from before the subscription: the last event, which the topic keeps
	body     body
	limit    int64
}

// Decode reads what was published into the variable that target points to; a topic that was cleared
// has published nil.
func (e *Event) Decode(target any) error {
	return e.body.read(target, e.limit)
}

// Value reads what was published as the Go column of BODY.md.
func (e *Event) Value() (any, error) {
	var found any
	err := e.Decode(&found)
	return found, err
}

// SlowPolicy says what becomes of a subscriber that does not keep up, here or at the broker.
type SlowPolicy int

// What there is.
const (
	SlowDropOldest SlowPolicy = iota // the oldest events go; the next one of the same topic tells how many it Missed
	SlowDisconnect                   // the subscription ends with ErrSlowSubscriber, behind what waits for its reader
)

// eventBuffer is how many events wait for a slow reader unless WithBuffer says otherwise.
const eventBuffer = 4096

// SubscribeOption changes one subscription.
type SubscribeOption func(*Subscription)

// WithBuffer is how many events wait here for a slow reader, from 1; without it 4,096.
func WithBuffer(events int) SubscribeOption {
	return func(s *Subscription) { s.buffer = events }
}

// WithSlow is what becomes of this subscriber if it does not keep up; SlowDropOldest is what happens
// without it. Of several readers of one pattern in a client the broker takes the milder wish.
func WithSlow(policy SlowPolicy) SubscribeOption {
	return func(s *Subscription) { s.slow = policy }
}

// Subscription gets the events of a topic, or of those that a pattern stands for, across reconnects,
// until it is closed. Its methods may be called by many goroutines.
type Subscription struct {
	topic  string // or pattern
	client *Client
	buffer int
	slow   SlowPolicy
	once   sync.Once

	mu      sync.Mutex
	waiting []Event
	dropped map[string]int64 // by topic: what went from the buffer and no event has told of
	ended   bool
	err     error         // why, if not by Close
	ready   chan struct{} // has one when events wait; closed at the end

	// The session's goroutine owns the rest.
	last map[string]position // by topic: the last event that came
}

// position is where a subscription is in a topic.
type position struct{ sequence, session int64 }

// Subscribe subscribes to a topic, or to a pattern: between dots, * is any one token, and > at the end
// one or more. It returns when the broker has accepted it; ctx is for the call only.
//
//	events, err := client.Subscribe(ctx, "prices.*")
//	for event := range events.All(ctx) {
//		price, err := event.Value()
//	}
func (c *Client) Subscribe(ctx context.Context, topic string, options ...SubscribeOption) (*Subscription, error) {
	sub := &Subscription{topic: topic, client: c, buffer: eventBuffer, dropped: map[string]int64{},
		ready: make(chan struct{}, 1), last: map[string]position{}}
	for _, option := range options {
		option(sub)
	}
	if sub.buffer < 1 {
		return nil, invalid("buffer", "buffer is %d, and has to be at least 1 event", sub.buffer)
	}
	if sub.slow != SlowDropOldest && sub.slow != SlowDisconnect {
		return nil, invalid("slow", "slow %d does not exist; there are SlowDropOldest and SlowDisconnect", sub.slow)
	}
	// Each asks the broker, for the events that topics keep; it is one subscription there all the same.
	r := &request{kind: wire.Subscribe, name: topic, sub: sub, slow: sub.slow}
	if err := c.ask(ctx, r); err != nil {
		return nil, err
	}
	if err := c.await(ctx, r); err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

// Next waits for the next event. The error says why there is none: that of Err, ErrClosed behind Close,
// and ErrTimeout or ErrCancelled when ctx is done.
func (s *Subscription) Next(ctx context.Context) (*Event, error) {
	for {
		if event, ended, err := s.take(); event != nil || ended {
			return event, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, s.client.contextError(&request{kind: wire.Subscribe}, ctx.Err())
		}
	}
}

// All yields events until ctx is done or the subscription ends; Err says whether it ended by itself.
func (s *Subscription) All(ctx context.Context) iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		for {
			event, err := s.Next(ctx)
			if err != nil || !yield(event) {
				return
			}
		}
	}
}

// Err is nil until the subscription ended for another reason than Close.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the subscription. It may be called again.
func (s *Subscription) Close() {
	s.once.Do(func() { s.client.tell(&request{kind: wire.Unsubscribe, name: s.topic, sub: s}) })
}

// take takes the oldest event that waits.
func (s *Subscription) take() (event *Event, ended bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		if s.ended && s.err == nil {
			return nil, true, s.client.failure(&request{}, ErrClosed, "the subscription to %q was closed", s.topic)
		}
		return nil, s.ended, s.err
	}
	event = &Event{}
	*event, s.waiting[0] = s.waiting[0], Event{} // else what was read would stay in memory
	s.waiting = s.waiting[1:]
	event.Missed += s.dropped[event.Topic]
	delete(s.dropped, event.Topic)
	if len(s.waiting) > 0 {
		s.wake() // another reader
	}
	return event, false, nil
}

// wake tells a reader that events wait. mu is held.
func (s *Subscription) wake() {
	if s.ended {
		return // then all readers know
	}
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// What follows is called by the session's goroutine only.

// put gives the subscription an event. It fails when the buffer is full and nothing may go.
func (s *Subscription) put(event Event, session int64) (fits bool) {
	last, known := s.last[event.Topic]
	if event.Retained && known && last.session == session {
		return true // another reader's subscribe made the broker send it again
	}
	if known {
		event.Missed = max(0, event.Sequence-last.sequence-1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) >= s.buffer {
		if s.slow == SlowDisconnect {
			return false
		}
		oldest := s.waiting[0]
		s.dropped[oldest.Topic] += 1 + oldest.Missed
		s.waiting[0] = Event{}
		s.waiting = s.waiting[1:]
	}
	s.last[event.Topic] = position{event.Sequence, session}
	s.waiting = append(s.waiting, event)
	s.wake()
	return true
}

// end ends the subscription, unless it has ended; what waits may still be read. err is nil behind Close.
func (s *Subscription) end(err error) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.ended, s.err = true, err
	close(s.ready)
	return true
}

func (c *Client) deliver(r *wire.Record) {
	topic := string(r.Name)
	var readers []*Subscription
	for pattern, all := range c.topics {
		if matches(pattern, topic) {
			readers = append(readers, all...)
		}
	}
	if len(readers) == 0 {
		return
	}
	if err := unreadable(r); err != nil {
		if r.Attrs.Unsupported != 0 {
			c.session.say(appendErrorRecord(nil, 0, ErrUnsupported, err.Message, "attribute", r.Attrs.Unsupported))
		}
		return
	}
	event := Event{Topic: topic, Sequence: r.Ref, body: received(r), limit: c.session.terms().Limits.Body}
	event.body.bytes = slices.Clone(r.Body) // else a slow reader would keep whole packets
	if r.Attrs != nil {
		event.Missed, event.Retained = r.Attrs.Missed, r.Attrs.Retained
	}
	for _, s := range readers {
		if s.put(event, c.sessions) {
			continue
		}
		slow := c.failure(&request{}, ErrSlowSubscriber, "the subscription to %q has ended: its buffer (size %d) was full when "+
			"another event came; read faster, or make it larger", s.topic, s.buffer)
		if c.unsubscribe(s, slow) {
			c.tell(&request{kind: wire.Unsubscribe, name: s.topic})
		}
	}
}

// accepted ends a request that asked for no more than that.
func (c *Client) accepted(r *request) {
	if r.kind == wire.Subscribe && r.sub != nil {
		c.topics[r.name] = append(c.topics[r.name], r.sub)
	}
	c.end(r, nil)
}

// unsubscribe takes a subscription out, with the reason (nil: Close), and says whether the broker has to
// be told.
func (c *Client) unsubscribe(s *Subscription, why error) (tell bool) {
	if !s.end(why) {
		return false // the broker ended it, or it was too slow
	}
	readers := slices.DeleteFunc(c.topics[s.topic], func(other *Subscription) bool { return other == s })
	if len(readers) > 0 {
		c.topics[s.topic] = readers
		return false
	}
	delete(c.topics, s.topic)
	return c.subscribing[s.topic] == 0 // else another is on its way
}

// resubscribe tells a new session of all topics.
func (c *Client) resubscribe(w *welcome) {
	for name, readers := range c.topics {
		slow := SlowDisconnect
		for _, s := range readers {
			if w.Epoch != c.epoch {
				clear(s.last) // another broker counts anew
			}
			slow = min(slow, s.slow) // the milder wish counts, as it does at the broker
		}
		c.tell(&request{kind: wire.Subscribe, name: name, slow: slow})
	}
	c.epoch = w.Epoch
}

// unsubscribed is the broker's word that it has ended what was subscribed to by this name. A subscribe
// without an answer is behind that, and has a subscription of its own.
func (c *Client) unsubscribed(r *wire.Record) {
	c.endTopic(string(r.Name), c.failure(&request{}, ErrSlowSubscriber, "%s", r.Text))
}

// endTopic ends all subscriptions to a topic or pattern, with the reason.
func (c *Client) endTopic(name string, err error) {
	readers := c.topics[name]
	delete(c.topics, name)
	for _, s := range readers {
		s.end(err)
	}
}

func (c *Client) closeTopics(err error) {
	for name := range c.topics {
		c.endTopic(name, err)
	}
}

// matches says whether topic is one that pattern stands for. A name without wildcards stands for itself.
func matches(pattern, topic string) bool {
	if pattern == topic {
		return true
	}
	given, more := topic, true
	for tokens := strings.Split(pattern, "."); len(tokens) > 0; tokens = tokens[1:] {
		if !more {
			return false
		}
		if tokens[0] == ">" && len(tokens) == 1 {
			return true
		}
		var token string
		token, given, more = strings.Cut(given, ".")
		if tokens[0] != "*" && tokens[0] != token {
			return false
		}
	}
	return !more
}
