package tusk

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// next is the next event of a subscription.
func next(t *testing.T, s *Subscription) *Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	event, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return event
}

// subscribe subscribes, and accepts it as the broker.
func subscribe(t *testing.T, c *Client, b *broker, l **link, topic string, options ...SubscribeOption) (*Subscription, wire.Record) {
	t.Helper()
	subscribed := background(func() (*Subscription, error) { return c.Subscribe(ctx, topic, options...) })
	if *l == nil {
		*l = b.accept(5, nil)
	}
	r := (*l).expect(wire.Subscribe)
	if string(r.Name) != topic {
		t.Fatal(describe(r))
	}
	(*l).send([]any{wire.Accepted, r.Ref})
	got := wait(t, subscribed)
	if got.err != nil {
		t.Fatal(got.err)
	}
	return got.value, r
}

func event(t *testing.T, topic string, sequence int, more ...any) []any {
	t.Helper()
	return append([]any{wire.Event, sequence, topic, pack(t, sequence)}, more...)
}

// It matches as proto/topic_pattern.cc does.
func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, topic string
		want           bool
	}{
		{"prices", "prices", true}, {"prices", "prices.eu", false}, {"prices.eu", "prices", false},
		{"prices.*", "prices.eu", true}, {"prices.*", "prices", false}, {"prices.*", "prices.eu.paris", false},
		{"prices.>", "prices.eu", true}, {"prices.>", "prices.eu.paris", true}, {"prices.>", "prices", false},
		{"*.eu", "prices.eu", true}, {"*.eu", "prices.us", false}, {"*.*", "prices.eu", true}, {"*.*", "prices", false},
		{"*", "prices", true}, {">", "prices", true}, {">", "prices.eu.paris", true},
		{"prices.*.paris", "prices.eu.paris", true}, {"prices.*.paris", "prices.eu.lyon", false},
		{"prices.>.paris", "prices.eu.paris", false}, {"*.eu.>", "prices.eu.paris", true}, {"a*b", "a*b", true}, {"a*b", "axb", false},
	} {
		if got := matches(c.pattern, c.topic); got != c.want {
			t.Errorf("matches(%q, %q) is %v", c.pattern, c.topic, got)
		}
	}
}

func TestAnEventGoesToAllWhosePatternMatches(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	var l *link
	one, _ := subscribe(t, c, b, &l, "prices.*")
	all, _ := subscribe(t, c, b, &l, "prices.>")
	l.send(event(t, "prices.eu", 1), event(t, "prices.eu.paris", 2), event(t, "stocks.eu", 3), event(t, "prices.us", 4))
	for s, topics := range map[*Subscription]string{one: "prices.eu prices.us", all: "prices.eu prices.eu.paris prices.us"} {
		for _, topic := range strings.Fields(topics) {
			if e := next(t, s); e.Topic != topic {
				t.Errorf("%s, want %s", e.Topic, topic)
			}
		}
	}
}

func TestMissedIsCountedForEachTopicOfAPattern(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	var l *link
	s, _ := subscribe(t, c, b, &l, "p.*", WithBuffer(2))
	expect := func(topic string, sequence, missed int64) {
		t.Helper()
		if e := next(t, s); e.Topic != topic || e.Sequence != sequence || e.Missed != missed {
			t.Fatal(e.Topic, e.Sequence, e.Missed)
		}
	}
	l.send(event(t, "p.a", 7, attributes{wire.Missed: 3}), event(t, "p.b", 20))
	expect("p.a", 7, 3)
	expect("p.b", 20, 0)
	// The gap counts where the last number is known, not what the broker says.
	l.send(event(t, "p.a", 10, attributes{wire.Missed: 1}), event(t, "p.b", 21))
	expect("p.a", 10, 2)
	expect("p.b", 21, 0)
	// The oldest goes, and with it the word of the one that was missed before it.
	l.send(event(t, "p.a", 12), event(t, "p.b", 22), event(t, "p.b", 23))
	other, _ := subscribe(t, c, b, &l, "other") // answered behind the events
	expect("p.b", 22, 0)
	expect("p.b", 23, 0)
	l.send(event(t, "p.a", 13))
	expect("p.a", 13, 2)
	other.Close()
}

func TestWhatATopicKeptComesOnceToEachSubscriptionAndAgainInANewSession(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	var l *link
	kept := attributes{wire.Retained: true}
	one, _ := subscribe(t, c, b, &l, "p.*")
	l.send(event(t, "p.a", 4, kept))
	if e := next(t, one); e.Sequence != 4 || !e.Retained || e.Missed != 0 {
		t.Fatal(e)
	}
	two, _ := subscribe(t, c, b, &l, "p.*")
	l.send(event(t, "p.a", 4, kept), event(t, "p.a", 5))
	if e := next(t, two); e.Sequence != 4 || !e.Retained {
		t.Fatal(e)
	}
	for _, s := range []*Subscription{one, two} {
		if e := next(t, s); e.Sequence != 5 || e.Retained || e.Missed != 0 {
			t.Fatal(e)
		}
	}
	b.close()
	b.open()
	l = b.accept(6, nil)
	l.send([]any{wire.Accepted, l.expect(wire.Subscribe).Ref}, event(t, "p.a", 5, kept))
	for _, s := range []*Subscription{one, two} {
		if e := next(t, s); e.Sequence != 5 || !e.Retained || e.Missed != 0 {
			t.Fatal(e)
		}
	}
}

func TestASubscriptionThatIsNotToBeSlowEndsBehindWhatItBuffered(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	var l *link
	s, asked := subscribe(t, c, b, &l, "t", WithBuffer(2), WithSlow(SlowDisconnect))
	if asked.Attrs == nil || asked.Attrs.Slow != 1 {
		t.Fatal(describe(asked))
	}
	l.send(event(t, "t", 1), event(t, "t", 2), event(t, "t", 3))
	if r := l.expect(wire.Unsubscribe); string(r.Name) != "t" {
		t.Fatal(describe(r))
	}
	for want := range 2 {
		if e := next(t, s); e.Sequence != int64(want+1) {
			t.Fatal(e)
		}
	}
	for range 2 {
		if _, err := s.Next(ctx); !errors.Is(err, ErrSlowSubscriber) || !strings.Contains(err.Error(), `"t" has ended: its buffer (size 2) was full`) {
			t.Fatal(err)
		}
	}
	if !errors.Is(s.Err(), ErrSlowSubscriber) {
		t.Fatal(s.Err())
	}
}

func TestTheBrokerEndsASubscription(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	var l *link
	one, _ := subscribe(t, c, b, &l, "p.*")
	two, _ := subscribe(t, c, b, &l, "p.*", WithSlow(SlowDisconnect))
	other, _ := subscribe(t, c, b, &l, "other")
	later := background(func() (*Subscription, error) { return c.Subscribe(ctx, "p.*") })
	late := l.expect(wire.Subscribe)
	l.send(event(t, "p.a", 1), []any{wire.Unsubscribed, "p.*", "1,024 bytes waited"},
		[]any{wire.Unsubscribed, "unknown here", "nobody reads it"},
		[]any{wire.Accepted, late.Ref}, event(t, "p.a", 2))
	for _, s := range []*Subscription{one, two} {
		if e := next(t, s); e.Sequence != 1 {
			t.Fatal(e)
		}
		if _, err := s.Next(ctx); !errors.Is(err, ErrSlowSubscriber) || !strings.Contains(err.Error(), "1,024 bytes") {
			t.Fatal(err)
		}
		s.Close() // tells the broker nothing: another reads the pattern
	}
	three := wait(t, later).value // its subscribe came behind that end
	if e := next(t, three); e.Sequence != 2 {
		t.Fatal(e)
	}
	l.send([]any{wire.Unsubscribed, "p.*", "again"})
	if _, err := three.Next(ctx); !errors.Is(err, ErrSlowSubscriber) {
		t.Fatal(err)
	}
	b.close()
	b.open()
	l = b.accept(6, nil) // p.* is forgotten
	if r := l.expect(wire.Subscribe); string(r.Name) != "other" {
		t.Fatal(describe(r))
	}
	other.Close()
	if r := l.expect(wire.Unsubscribe); string(r.Name) != "other" {
		t.Fatal(describe(r))
	}
}

func TestAReaderThatLeavesTakesNoOtherWithIt(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	var l *link
	one, _ := subscribe(t, c, b, &l, "t")
	later := background(func() (*Subscription, error) { return c.Subscribe(ctx, "t") })
	r := l.expect(wire.Subscribe)
	one.Close() // an unsubscribe now would be carried out behind the second subscribe
	if _, err := one.Next(ctx); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	l.send([]any{wire.Accepted, r.Ref}, event(t, "t", 1))
	two := wait(t, later).value
	next(t, two)
	two.Close()
	if r := l.next(); r.Kind != wire.Unsubscribe {
		t.Fatal(describe(r))
	}
}

func TestClearPublishesNoBody(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	var l *link
	s, _ := subscribe(t, c, b, &l, "t")
	cleared := background(func() (any, error) { return nil, c.Clear(ctx, "t") })
	r := l.expect(wire.Publish)
	if string(r.Name) != "t" || r.Body != nil {
		t.Fatal(describe(r))
	}
	l.send([]any{wire.Event, 1, "t", nil}, []any{wire.Accepted, r.Ref})
	if got := wait(t, cleared); got.err != nil {
		t.Fatal(got.err)
	}
	if value, err := next(t, s).Value(); value != nil || err != nil {
		t.Fatal(value, err)
	}
	cleared = background(func() (any, error) { return nil, c.Clear(ctx, "no such topic") })
	l.send([]any{wire.Error, l.expect(wire.Publish).Ref, "unknown_topic", "there is none"})
	if got := wait(t, cleared); !errors.Is(got.err, ErrUnknownTopic) {
		t.Fatal(got.err)
	}
}

func TestSubscribeFails(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	for want, option := range map[string]SubscribeOption{
		"buffer is 0, and has to be at least 1":  WithBuffer(0),
		"buffer is -1, and has to be at least 1": WithBuffer(-1),
		"slow 2 does not exist":                  WithSlow(2),
		"slow -1 does not exist":                 WithSlow(-1),
	} {
		if _, err := c.Subscribe(ctx, "t", option); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Error(err)
		}
	}
	subscribed := background(func() (*Subscription, error) { return c.Subscribe(ctx, "nothing.*") })
	l := b.accept(5, nil)
	l.send([]any{wire.Error, l.expect(wire.Subscribe).Ref, "unknown_topic", "no topic matches nothing.*"})
	if got := wait(t, subscribed); !errors.Is(got.err, ErrUnknownTopic) || !strings.Contains(got.err.Error(), "nothing.*") {
		t.Fatal(got.err)
	}
}
