package tusk

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

func TestResumedSessionsSendTheSamePacketsAgain(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	done := background(func() (int, error) { return Call[int](ctx, c, "f", nil) })
	l := b.accept(5, nil)
	l.mute = true
	first := l.expect(wire.Submit)
	b.close()
	b.open()
	again := b.hello()
	if again.fields["session"] != int64(5) || again.fields["ack"] != int64(0) {
		t.Fatalf("hello %v", again.fields)
	}
	again.welcome(5, true, 0, nil)
	r := again.expect(wire.Submit)
	if r.Ref != first.Ref || r.ID != first.ID || r.Attrs.Resent {
		t.Fatal(describe(r))
	}
	again.send([]any{wire.Result, r.Ref, 1, pack(t, 9)})
	if got := wait(t, done); got.err != nil || got.value != 9 {
		t.Fatal(got)
	}
}

func TestANewSessionGetsEveryUnendedTaskAgainAsResentInOrder(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	var tasks []*Task
	for _, name := range []string{"a", "b", "c"} {
		task, err := c.Submit(ctx, name, name, WithTimeout(within))
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	l := b.accept(5, nil)
	for range tasks {
		l.expect(wire.Submit)
	}
	l.send([]any{wire.Result, 2, 1, pack(t, "b")})
	wait(t, tasks[1].Done())
	b.close()
	b.open()
	again := b.accept(6, map[string]any{"epoch": 8})
	for _, i := range []int{0, 2} {
		r := again.expect(wire.Submit)
		if TaskID(r.ID) != tasks[i].ID() || r.Attrs == nil || !r.Attrs.Resent || r.Attrs.Wait > within.Milliseconds() {
			t.Fatal(describe(r))
		}
		again.send([]any{wire.Result, r.Ref, 1, pack(t, i)})
	}
	for _, i := range []int{0, 2} {
		if got, err := Result[int](ctx, tasks[i]); err != nil || got != i {
			t.Fatal(got, err)
		}
	}
}

func TestAGapIsFilledFromThere(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	for _, name := range []string{"a", "b"} {
		if _, err := c.Submit(ctx, name, nil); err != nil {
			t.Fatal(err)
		}
		if r := l.expect(wire.Submit); string(r.Name) != name {
			t.Fatal(describe(r))
		}
	}
	l.mute = true
	l.send([]any{wire.Error, 0, "gap", "a number was skipped", map[string]any{"expected": 2}})
	if seq, records := l.packet(); seq != 2 || string(records[0].Name) != "b" {
		t.Fatal(seq, records)
	}
}

func TestWhatArrivesTwiceIsDroppedAndAGapIsTold(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	done := background(func() (int, error) { return Call[int](ctx, c, "f", nil) })
	r := l.expect(wire.Submit)
	l.sendAs(5, 1, []any{wire.Ping, 41})
	if pong := l.expect(wire.Pong); pong.Ref != 41 {
		t.Fatal(describe(pong))
	}
	l.sendAs(5, 1, []any{wire.Ping, 41}) // twice
	l.sendAs(5, 3, []any{wire.Ping, 43}) // after a gap
	if e := l.expect(wire.Error); string(e.Name) != "gap" || !bytes.Equal(e.Raw, pack(t, map[string]any{"expected": 2})) {
		t.Fatal(describe(e))
	}
	l.sendAs(99, 2, []any{wire.Result, r.Ref, 1, pack(t, 1)}) // of another session
	l.sendAs(5, 2, []any{wire.Result, r.Ref, 1, pack(t, 2)})
	if got := wait(t, done); got.value != 2 || got.err != nil {
		t.Fatal(got)
	}
	if l.acked < 1 {
		t.Fatal("nothing acknowledged")
	}
}

func TestLoneHeadersAcknowledgeWithinTheDelay(t *testing.T) {
	b := newBroker(t)
	newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	l.send([]any{wire.Kind(200)})
	for {
		a, ok := b.arrivalFrom(l.from, within)
		if !ok {
			t.Fatal("no acknowledgement")
		}
		_, header, err := wire.Decode(a.frames, nil)
		if err != nil || header == nil {
			t.Fatal(header, err)
		}
		if header.Seq == 0 && header.Ack == 1 {
			return
		}
	}
}

func TestStaleSessionIsAnsweredWithHello(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	done := background(func() (int, error) { return Call[int](ctx, c, "f", nil) })
	l := b.accept(5, nil)
	r := l.expect(wire.Submit)
	l.bare([]any{wire.Error, 0, "stale_session", "who are you?"})
	again := b.hello()
	if again.fields["session"] != int64(5) {
		t.Fatalf("hello %v", again.fields)
	}
	again.welcome(6, false, 0, nil)
	resent := again.expect(wire.Submit)
	if resent.ID != r.ID || !resent.Attrs.Resent {
		t.Fatal(describe(resent))
	}
	again.send([]any{wire.Result, resent.Ref, 1, pack(t, 1)})
	if got := wait(t, done); got.err != nil {
		t.Fatal(got.err)
	}
}

func TestShuttingDownIsNoEnding(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	done := background(func() (int, error) { return Call[int](ctx, c, "f", nil) })
	l := b.accept(5, nil)
	r := l.expect(wire.Submit)
	l.send([]any{wire.Goaway, "restart"}, []any{wire.Error, r.Ref, "shutting_down", "later"}, []any{wire.Bye})
	again := b.hello()
	if again.fields["session"] != nil {
		t.Fatalf("hello %v after bye", again.fields)
	}
	again.welcome(6, false, 0, nil)
	resent := again.expect(wire.Submit)
	if resent.ID != r.ID || !resent.Attrs.Resent {
		t.Fatal(describe(resent))
	}
	again.send([]any{wire.Result, resent.Ref, 1, pack(t, 1)})
	if got := wait(t, done); got.err != nil {
		t.Fatal(got.err)
	}
}

func TestWhatWasAskedInAPacketThatTheBrokerCouldNotReadFails(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	fine := background(func() (string, error) { return Call[string](ctx, c, "fine", 1) })
	l := b.accept(5, nil)
	r := l.expect(wire.Submit)
	bad := background(func() (any, error) { return Call[any](ctx, c, "bad", 1) })
	submit := l.expect(wire.Submit)
	number := l.in
	subscribed := background(func() (*Subscription, error) { return c.Subscribe(ctx, "prices") })
	l.expect(wire.Subscribe)
	for _, packet := range []int64{number, l.in} {
		details := map[string]any{"record": 1, "packet": packet}
		l.send([]any{wire.Error, 0, "malformed", "cannot be read", details})
	}
	var refused *Error
	if got := wait(t, bad); !errors.Is(got.err, ErrMalformed) || !errors.As(got.err, &refused) || refused.ID != submit.ID {
		t.Fatal(got.err)
	}
	if got := wait(t, subscribed); !errors.Is(got.err, ErrMalformed) {
		t.Fatal(got.err)
	}
	l.send([]any{wire.Result, r.Ref, 1, pack(t, "on")})
	if got := wait(t, fine); got.value != "on" || got.err != nil {
		t.Fatal(got)
	}
}

func TestAfterGoawayWhatRunsMayEndAndTheNextSessionIsWhereItSays(t *testing.T) {
	for name, leave := range map[string]func(b *broker, l *link){
		"bye":          func(_ *broker, l *link) { l.send([]any{wire.Bye}) },
		"disconnected": func(b *broker, _ *link) { b.close() },
	} {
		t.Run(name, func(t *testing.T) {
			b, other := newBroker(t), newBroker(t)
			c := newTestClient(t, b, Options{})
			first := background(func() (string, error) { return Call[string](ctx, c, "f", 1) })
			l := b.accept(5, nil)
			r := l.expect(wire.Submit)
			second := background(func() (string, error) { return Call[string](ctx, c, "g", 1) })
			l.expect(wire.Submit)
			l.send([]any{wire.Goaway, "moved", []string{"nonsense://", other.url}})
			l.send([]any{wire.Result, r.Ref, 1, pack(t, "here")})
			if got := wait(t, first); got.value != "here" {
				t.Fatal(got)
			}
			leave(b, l)
			there := other.hello()
			if there.fields["session"] != nil {
				t.Fatalf("hello %v", there.fields)
			}
			there.welcome(6, false, 0, nil)
			r = there.expect(wire.Submit)
			there.send([]any{wire.Result, r.Ref, 1, pack(t, "there")})
			if got := wait(t, second); got.value != "there" {
				t.Fatal(got)
			}
		})
	}
}

func TestABrokerThatLeavesAndNamesNobodyMeansItself(t *testing.T) {
	b, other := newBroker(t), newBroker(t)
	c := newTestClient(t, b, Options{})
	done := background(func() (string, error) { return Call[string](ctx, c, "f", 1, WithTimeout(within)) })
	l := b.accept(5, nil)
	l.expect(wire.Submit)
	l.send([]any{wire.Goaway, "moved", []string{other.url}}, []any{wire.Bye})
	l = other.accept(6, nil)
	l.expect(wire.Submit)
	l.send([]any{wire.Goaway, "restart"}, []any{wire.Bye})
	other.hello().bare([]any{wire.Error, 0, "shutting_down", "it restarts"})
	l = other.accept(7, nil)
	r := l.expect(wire.Submit)
	l.send([]any{wire.Result, r.Ref, 1, pack(t, "there")})
	if got := wait(t, done); got.value != "there" {
		t.Fatal(got)
	}
	if a, any := b.arrivalFrom("", 0); any {
		t.Fatalf("it went to the one before: %x", a.frames)
	}
}

func TestWithoutAWelcomeElsewhereItComesBack(t *testing.T) {
	b, full := newBroker(t), newBroker(t)
	for name, url := range map[string]string{"nobody is there": b.url + "-nobody", "it is full": full.url} {
		t.Run(name, func(t *testing.T) {
			c := newTestClient(t, b, Options{elsewhereAfter: 50 * time.Millisecond})
			done := background(func() (string, error) { return Call[string](ctx, c, "f", 1, WithTimeout(within)) })
			l := b.accept(5, nil)
			l.expect(wire.Submit)
			l.send([]any{wire.Goaway, "moved", []string{url}}, []any{wire.Bye})
			if url == full.url {
				full.hello().bare([]any{wire.Error, 0, "full", "too many sessions", map[string]any{"limit": "sessions"}})
			}
			l = b.accept(6, nil)
			r := l.expect(wire.Submit)
			l.send([]any{wire.Result, r.Ref, 1, pack(t, "back")})
			if got := wait(t, done); got.value != "back" {
				t.Fatal(got)
			}
		})
	}
}

func TestGarbageIsAnsweredAndTheSessionGoesOn(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	done := background(func() (int, error) { return Call[int](ctx, c, "f", nil) })
	r := l.expect(wire.Submit)
	l.raw([]byte{0xc1})
	l.raw([]byte{0x91})
	l.out++
	l.raw(append(appendHeader(nil, 5, l.out, 0), 0x92, 32)) // a result that is cut
	if e := l.expect(wire.Error); string(e.Name) != "malformed" || !bytes.Equal(e.Raw, pack(t, map[string]any{"record": 1})) {
		t.Fatal(describe(e))
	}
	l.send([]any{77, 1})
	if e := l.expect(wire.Error); string(e.Name) != "unsupported" || !bytes.Equal(e.Raw, pack(t, map[string]any{"kind": 77})) {
		t.Fatal(describe(e))
	}
	l.send([]any{wire.Result, r.Ref, 1, pack(t, 1)})
	if got := wait(t, done); got.err != nil {
		t.Fatal(got.err)
	}
}

func TestAConnectionThatEndsOnALargeBodyIsNotTriedForEver(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	large := make([]byte, 3<<20)
	done := background(func() (any, error) { return Call[any](ctx, c, "f", large) })
	small := background(func() (any, error) { return Call[any](ctx, c, "g", 1, WithTimeout(within)) })
	l := b.accept(5, nil)
	for range brokenAtMost {
		// The large one comes whole; this broker behaves as one that cannot take it.
		for large := false; !large; {
			_, records := l.packet()
			large = slices.ContainsFunc(records, func(r wire.Record) bool { return len(r.Body) > 1<<20 })
		}
		b.close()
		b.open()
		l = b.hello()
		if l.fields["session"] == nil {
			break
		}
		l.welcome(5, true, 0, nil)
	}
	if got := wait(t, done); !errors.Is(got.err, ErrTooLarge) {
		t.Fatal(got.err)
	}
	l.welcome(6, false, 0, nil)
	r := l.expect(wire.Submit)
	if string(r.Name) != "g" {
		t.Fatal(describe(r))
	}
	l.send([]any{wire.Result, r.Ref, 1, pack(t, 1)})
	if got := wait(t, small); got.err != nil {
		t.Fatal(got.err)
	}
}

func TestARefusedClientFailsWithTheReason(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	done := background(func() (any, error) { return Call[any](ctx, c, "f", 1) })
	b.hello().bare([]any{wire.Error, 0, "version", "too old", map[string]any{"versions": []int{2}}})
	if got := wait(t, done); !errors.Is(got.err, ErrVersion) {
		t.Fatal(got.err)
	}
}
