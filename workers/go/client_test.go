package tusk

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

var ctx = context.Background()

func TestCallSendsItsTaskAndDecodesTheResult(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	done := background(func() (int, error) { return Call[int](ctx, c, "add", map[string]any{"a": 1, "b": 2}) })
	l := b.accept(5, nil)
	if l.fields["role"] != "client" || l.fields["language"] != "go" || l.fields["acks"] != true {
		t.Fatalf("hello %v", l.fields)
	}
	r := l.expect(wire.Submit)
	if string(r.Name) != "add" || !bytes.Equal(r.Body, pack(t, map[string]any{"a": 1, "b": 2})) {
		t.Fatalf("submit %s", describe(r))
	}
	if r.ID[6]>>4 != 7 || r.Attrs == nil || r.Attrs.Wait < 1 || r.Attrs.Wait > 5000 || r.Attrs.Resent {
		t.Fatalf("id %x, %s", r.ID, describe(r))
	}
	l.send([]any{wire.Result, r.Ref, 1, pack(t, 3)})
	if got := wait(t, done); got.err != nil || got.value != 3 {
		t.Fatal(got)
	}
}

func TestEndingsAreTypedErrors(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := (*link)(nil)
	call := func(record func(request int64) []any) error {
		done := background(func() (any, error) { return Call[any](ctx, c, "f", nil) })
		if l == nil {
			l = b.accept(5, nil)
		}
		l.send(record(l.expect(wire.Submit).Ref))
		return wait(t, done).err
	}
	wrong := map[string]any{"type": "ValueError", "message": "no", "language": "python", "stack": "File x"}
	err := call(func(n int64) []any {
		return []any{wire.Result, n, 5, nil, attributes{2: wrong, 4: 3, 6: "python-1"}}
	})
	var failed *TaskError
	if !errors.As(err, &failed) || !errors.Is(err, ErrDead) || !errors.Is(err, ErrFailed) || errors.Is(err, ErrExpired) {
		t.Fatalf("%#v", err)
	}
	if failed.Type != "ValueError" || failed.Message != "no" || failed.Language != "python" || failed.Stack != "File x" ||
		failed.Attempt != 3 || failed.Worker != "python-1" || failed.TaskType != "f" || failed.ID == (TaskID{}) || !failed.Retry {
		t.Fatalf("%+v", failed)
	}
	for state, want := range map[int]error{2: ErrFailed, 3: ErrExpired, 4: ErrCancelled} {
		err := call(func(n int64) []any { return []any{wire.Result, n, state} })
		if !errors.Is(err, want) || errors.Is(err, ErrDead) {
			t.Fatalf("state %d: %v", state, err)
		}
	}
	for _, want := range []code{ErrUnserved, ErrFull, ErrBusy, ErrIDConflict, ErrAlreadyEnded, ErrUnknownOutcome, ErrTimeout} {
		err := call(func(n int64) []any { return []any{wire.Error, n, string(want), "why", map[string]any{"limit": "x"}} })
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, want) || e.Message != "why" || e.Details["limit"] != "x" || e.ID == (TaskID{}) {
			t.Fatalf("%v: %v", want, err)
		}
	}
}

func TestWithoutABrokerCallsFailInTimeAndNameTheURL(t *testing.T) {
	c, err := NewClient(Options{URL: "tcp://127.0.0.1:1", Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = Call[int](ctx, c, "add", 1)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "tcp://127.0.0.1:1") {
		t.Fatal(err)
	}
}

func TestTheContextsDeadlineIsTheTimeoutAndTheTaskGoesOn(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	done := background(func() (any, error) { return Call[any](short, c, "slow", nil) })
	l := b.accept(5, nil)
	if r := l.expect(wire.Submit); r.Attrs == nil || r.Attrs.Wait > 200 {
		t.Fatal(describe(r))
	}
	if got := wait(t, done); !errors.Is(got.err, ErrTimeout) || !errors.Is(got.err, context.DeadlineExceeded) {
		t.Fatal(got.err)
	}
	// Nothing cancels the task: the next thing that the client says is the next call.
	background(func() (any, error) { return Call[any](ctx, c, "next", nil) })
	if r := l.expect(wire.Submit); string(r.Name) != "next" {
		t.Fatal(describe(r))
	}
}

func TestTheEndOfTheContextCancelsTheTask(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	cancelled, cancel := context.WithCancel(ctx)
	done := background(func() (any, error) { return Call[any](cancelled, c, "slow", nil) })
	l := b.accept(5, nil)
	r := l.expect(wire.Submit)
	cancel()
	if got := wait(t, done); !errors.Is(got.err, ErrCancelled) || !errors.Is(got.err, context.Canceled) {
		t.Fatal(got.err)
	}
	if told := l.expect(wire.Cancel); told.ID != r.ID {
		t.Fatal(describe(told))
	}
}

func TestLimitsHoldBeforeSending(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, map[string]any{"limits": map[string]any{"body": 20_000, "records": 3, "frames": 2, "session_bytes": 60_000},
		"compression": "lz4", "compression_threshold": 10_000})
	welcomed(t, c, l)
	_, err := Call[any](ctx, c, "f", make([]byte, 20_001))
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, ErrTooLarge) || e.Details["limit"] != "body" {
		t.Fatal(err)
	}
	if _, err := Call[any](ctx, c, strings.Repeat("n", 256), nil); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if _, err := Call[any](ctx, c, "\xff", nil); !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
	if _, err := c.Submit(ctx, "f", bytes.Repeat([]byte("x"), 15_000)); err != nil {
		t.Fatal(err)
	}
	if r := l.expect(wire.Submit); r.Attrs.Compression != 1 || len(r.Body) >= 15_000 {
		t.Fatalf("%d bytes, %s", len(r.Body), describe(r))
	}
	// Two frames a packet, three records a packet, whatever is ready.
	l.mute = true
	noise := make([]byte, 9_000)
	for i := range noise {
		noise[i] = byte(i * i >> 3)
	}
	for {
		if _, err := c.Submit(ctx, "f", noise); err != nil {
			if !errors.Is(err, ErrBusy) {
				t.Fatal(err)
			}
			break
		}
	}
	for n := 0; n < 6; {
		_, records := l.packet()
		if len(records) > 2 {
			t.Fatal(len(records), "bodies in one packet")
		}
		n += len(records)
	}
}

// welcomed waits until the client has the broker's terms.
func welcomed(t *testing.T, c *Client, l *link) {
	t.Helper()
	done := background(func() (any, error) { return c.Query(ctx, "status", nil) })
	l.send([]any{wire.Answer, l.expect(wire.Query).Ref, map[string]any{"version": "1"}})
	if got := wait(t, done); got.err != nil {
		t.Fatal(got.err)
	}
}

func TestPushWaitsForItsWindow(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, map[string]any{"limits": map[string]any{"push_window": 2}})
	welcomed(t, c, l)
	done := background(func() (int, error) { return PushMany(ctx, c, "clean", slices.Values([]int{1, 2, 3})) })
	first, second := l.expect(wire.Push), l.expect(wire.Push)
	l.send([]any{wire.Ping, 1})
	l.expect(wire.Pong) // and no third push before it
	l.send([]any{wire.Accepted, first.Ref})
	third := l.expect(wire.Push)
	l.send([]any{wire.Accepted, second.Ref}, []any{wire.Accepted, third.Ref})
	if got := wait(t, done); got.err != nil || got.value != 3 {
		t.Fatal(got)
	}
}

func TestEventsTellWhatWasMissedAndSurviveANewSession(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	subscribed := background(func() (*Subscription, error) { return c.Subscribe(ctx, "prices") })
	l := b.accept(5, nil)
	l.send([]any{wire.Accepted, l.expect(wire.Subscribe).Ref})
	sub := wait(t, subscribed).value
	event := func(l *link, n int, body any) { l.send([]any{wire.Event, n, "prices", pack(t, body)}) }
	event(l, 4, 1.5)
	event(l, 7, 2.5)
	for i, missed := range []int64{0, 2} {
		e := next(t, sub)
		got, err := e.Value()
		if err != nil || got != 1.5+float64(i) || e.Missed != missed {
			t.Fatal(got, err, e.Missed)
		}
	}
	b.close()
	b.open()
	again := b.accept(6, nil) // the same epoch: the same numbers
	r := again.expect(wire.Subscribe)
	again.send([]any{wire.Accepted, r.Ref})
	event(again, 9, "x")
	if e := next(t, sub); e.Missed != 1 {
		t.Fatal(e.Missed)
	}
	sub.Close()
	if r := again.expect(wire.Unsubscribe); string(r.Name) != "prices" {
		t.Fatal(describe(r))
	}
	if _, err := sub.Next(ctx); !errors.Is(err, ErrClosed) || sub.Err() != nil {
		t.Fatal(err, sub.Err())
	}
}

func TestPublishIsNeverSentTwice(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	done := background(func() (any, error) { return nil, c.Publish(ctx, "prices", 1) })
	l := b.accept(5, nil)
	l.expect(wire.Publish)
	b.close()
	b.open()
	b.accept(6, nil)
	if got := wait(t, done); !errors.Is(got.err, ErrUnavailable) {
		t.Fatal(got.err)
	}
}

func TestCancelQueryAndEnqueue(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	id := NewTaskID()
	state := background(func() (string, error) { return c.Cancel(ctx, id) })
	r := l.expect(wire.Cancel)
	if TaskID(r.ID) != id {
		t.Fatal(describe(r))
	}
	l.send([]any{wire.Answer, r.Ref, map[string]any{"state": "cancelling"}})
	if got := wait(t, state); got.err != nil || got.value != "cancelling" {
		t.Fatal(got)
	}
	queued := background(func() (TaskID, error) { return c.Enqueue(ctx, "f", 1, WithID(id), Resent(), RerunOK()) })
	r = l.expect(wire.Submit)
	if r.Attrs == nil || r.Attrs.Reply != 1 || !r.Attrs.Resent || !r.Attrs.RerunOK || r.Attrs.Wait != 0 {
		t.Fatal(describe(r))
	}
	l.send([]any{wire.Accepted, r.Ref})
	if got := wait(t, queued); got.err != nil || got.value != id {
		t.Fatal(got)
	}
}

func TestTraceAndBaggageGoAlong(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	trace, baggage := WithTrace("00-ab"), WithBaggage(strings.Repeat("k=ä,", maxTrace/5)) // 5 bytes each
	background(func() (int, error) { return Call[int](ctx, c, "f", nil, trace, baggage, WithTimeout(NoTimeout)) })
	background(func() (TaskID, error) { return c.Push(ctx, "f", nil, baggage, trace) })
	background(func() (int, error) { return 0, c.Publish(ctx, "f", nil, trace) })
	for range 3 {
		r := l.next()
		if a := r.Attrs; a == nil || string(a.Trace) != "00-ab" ||
			r.Kind != wire.Publish && len(a.Baggage) != maxTrace/5*5 {
			t.Fatal(r.Kind, describe(r))
		}
	}
	for _, wrong := range []CallOption{WithTrace("\xff"), WithBaggage(strings.Repeat("x", maxTrace+1))} {
		if _, err := Call[int](ctx, c, "f", nil, wrong); !errors.Is(err, ErrInvalid) {
			t.Fatal(err)
		}
	}
}

func TestCallManyKeepsTheOrderAndAsCompletedDoesNot(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	answerReversed := func() {
		var refs []int64
		for range 3 {
			refs = append(refs, l.expect(wire.Submit).Ref)
		}
		for i, ref := range slices.Backward(refs) {
			l.send([]any{wire.Result, ref, 1, pack(t, i*i)})
		}
	}
	ordered := background(func() (got []int, err error) {
		for v, e := range CallMany[int](ctx, c, "square", slices.Values([]int{0, 1, 2})) {
			got, err = append(got, v), errors.Join(err, e)
		}
		return got, err
	})
	answerReversed()
	if got := wait(t, ordered); got.err != nil || !slices.Equal(got.value, []int{0, 1, 4}) {
		t.Fatal(got)
	}
	completed := background(func() (got []int, err error) {
		for o := range CallManyAsCompleted[int](ctx, c, "square", slices.Values([]int{0, 1, 2})) {
			if o.Err != nil || o.Value != o.Index*o.Index {
				err = errors.Join(err, o.Err, errors.New("wrong"))
			}
			got = append(got, o.Index)
		}
		return got, err
	})
	answerReversed()
	if got := wait(t, completed); got.err != nil || !slices.Equal(got.value, []int{2, 1, 0}) {
		t.Fatal(got)
	}
}

func TestResultsThatDoNotFitAreErrors(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	done := background(func() (int8, error) { return Call[int8](ctx, c, "f", nil) })
	l := b.accept(5, nil)
	l.send([]any{wire.Result, l.expect(wire.Submit).Ref, 1, pack(t, 300)})
	if got := wait(t, done); !errors.Is(got.err, ErrBody) {
		t.Fatal(got)
	}
	if _, err := Call[any](ctx, c, "f", func() {}); !errors.Is(err, ErrBody) {
		t.Fatal(err)
	}
	if _, err := Call[any](ctx, c, "f", "\xff"); !errors.Is(err, ErrBody) {
		t.Fatal(err)
	}
}

func TestCloseEndsWhatWaits(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	done := background(func() (any, error) { return Call[any](ctx, c, "f", 1) })
	l := b.accept(5, nil)
	l.expect(wire.Submit)
	closed := background(func() (any, error) { return nil, c.Close() })
	l.expect(wire.Bye)
	wait(t, closed)
	if got := wait(t, done); !errors.Is(got.err, ErrClosed) {
		t.Fatal(got.err)
	}
	if _, err := Call[any](ctx, c, "f", 1); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}
