package tusk

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

func TestAKeyThatAnotherTaskHasIsAnErrorThatNamesIt(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	holder := NewTaskID()
	call := func() (int, error) { return Call[int](ctx, c, "f", 1, WithUnique("k"), WithUniquePolicy(UniqueRefuse)) }
	l := b.accept(5, nil)
	for _, details := range []map[string]any{
		{"id": strings.ReplaceAll(holder.String(), "-", ""), "state": "running"}, {}, {"id": "no id", "state": 7},
	} {
		done := background(call)
		r := l.expect(wire.Submit)
		l.send([]any{wire.Error, r.Ref, "duplicate", "task x has the unique key", details})
		err := wait(t, done).err
		var duplicate *DuplicateError
		var e *Error
		if !errors.Is(err, ErrDuplicate) || !errors.As(err, &duplicate) || !errors.As(err, &e) || e.ID != r.ID {
			t.Fatal(err)
		}
		want := DuplicateError{}
		if details["state"] == "running" {
			want.ID, want.State = holder, "running"
		}
		if duplicate.ID != want.ID || duplicate.State != want.State {
			t.Fatalf("%+v", duplicate)
		}
	}
}

func TestAnEndingNamesTheTaskThatCounts(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	submit := func() (*Task, int64) {
		t.Helper()
		task, err := c.Submit(ctx, "f", 1, WithUnique("k"))
		if err != nil {
			t.Fatal(err)
		}
		return task, l.expect(wire.Submit).Ref
	}
	other := NewTaskID()
	joined, n := submit()
	if joined.JoinedID() != joined.ID() {
		t.Fatal("it has joined nothing yet")
	}
	l.send([]any{wire.Result, n, 1, pack(t, 7), attributes{30: other[:]}})
	if found, err := Result[int](ctx, joined); err != nil || found != 7 || joined.JoinedID() != other || joined.ID() == other {
		t.Fatal(found, err, joined.JoinedID())
	}
	own, n := submit()
	l.send([]any{wire.Result, n, 1, pack(t, 7)})
	if _, err := Result[int](ctx, own); err != nil || own.JoinedID() != own.ID() {
		t.Fatal(err)
	}
	failed, n := submit()
	l.send([]any{wire.Result, n, 4, nil, attributes{30: other[:]}})
	_, err := Result[int](ctx, failed)
	var e *TaskError
	if !errors.As(err, &e) || e.ID != other || e.TaskType != "f" {
		t.Fatal(err)
	}
	broken, n := submit()
	l.send([]any{wire.Result, n, 1, pack(t, 7), attributes{30: other[:5]}})
	if _, err := Result[int](ctx, broken); !errors.Is(err, ErrInvalid) {
		t.Fatal("an id of 5 bytes:", err)
	}
}

func TestAwaitTakesWhateverATasksEndingIs(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	id := NewTaskID()
	var told []int
	follow := OnProgress(func(p Progress) {
		n := 0
		if err := p.Decode(&n); err != nil {
			t.Error(err)
		}
		told = append(told, n)
	})
	done := background(func() (int, error) { return AwaitTask[int](ctx, c, id, follow, WithTimeout(time.Minute)) })
	r := l.expect(wire.Await)
	sent := l.sent(4)
	if left, _ := sent[wire.Wait].(int64); TaskID(r.ID) != id || left > 60_000 || left < 50_000 || sent[wire.Follow] != int64(1) || len(sent) != 2 {
		t.Fatal(r.ID, sent)
	}
	l.send([]any{wire.Progress, r.Ref, pack(t, 3)}, []any{wire.Result, r.Ref, 1, pack(t, 7)})
	if got := wait(t, done); got.err != nil || got.value != 7 || !slices.Equal(told, []int{3}) {
		t.Fatal(got, told)
	}

	done = background(func() (int, error) { return AwaitTask[int](ctx, c, id, WithTimeout(NoTimeout)) })
	r = l.expect(wire.Await)
	if len(l.sent(4)) != 0 {
		t.Fatal(l.sent(4))
	}
	l.send([]any{wire.Result, r.Ref, 2, nil, attributes{2: map[string]any{"type": "KeyError", "message": "no"}}})
	var e *TaskError
	if err := wait(t, done).err; !errors.As(err, &e) || e.ID != id || e.TaskType != "" ||
		err.Error() != "tusk: task failed: KeyError: no (id "+id.String()+")" {
		t.Fatal(err)
	}
	for code, sentinel := range map[string]error{"unknown_task": ErrUnknownTask, "already_ended": ErrAlreadyEnded, "timeout": ErrTimeout} {
		done = background(func() (int, error) { return AwaitTask[int](ctx, c, id) })
		l.send([]any{wire.Error, l.expect(wire.Await).Ref, code, "so it is", map[string]any{"state": "failed"}})
		if err := wait(t, done).err; !errors.Is(err, sentinel) {
			t.Fatal(code, err)
		}
	}

	_, err := AwaitTask[int](ctx, c, id, WithTimeout(time.Millisecond))
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "goes on") {
		t.Fatal(err)
	}
	l.expect(wire.Await)
}

func TestTheEndOfAContextEndsOnlyTheWaitingForATaskOfOthers(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	own, cancel := context.WithCancel(ctx)
	done := background(func() (int, error) { return AwaitTask[int](own, c, NewTaskID()) })
	l.expect(wire.Await)
	cancel()
	err := wait(t, done).err
	var ended *TaskError
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrCancelled) || errors.As(err, &ended) {
		t.Fatal(err)
	}
	if _, err := AwaitTask[int](own, c, NewTaskID()); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	background(func() (any, error) { return c.Query(ctx, "status", nil) })
	l.expect(wire.Query) // and no cancel before it
}

func TestAwaitAllAsksInOnePacketAndKeepsTheOrder(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	welcomed(t, c, l)
	ids := []TaskID{NewTaskID(), NewTaskID(), NewTaskID(), {}}
	ids[3] = ids[0]
	done := background(func() ([]Outcome[int], error) { return AwaitAll[int](ctx, c, ids), nil })
	_, records := l.packet()
	l.in++
	if len(records) != 4 {
		t.Fatal(len(records), "records in the packet")
	}
	for i, r := range records {
		if r.Kind != wire.Await || TaskID(r.ID) != ids[i] {
			t.Fatal(i, describe(r))
		}
	}
	l.send([]any{wire.Result, records[2].Ref, 1, pack(t, 30)}, []any{wire.Error, records[1].Ref, "unknown_task", "no such task"},
		[]any{wire.Result, records[0].Ref, 1, pack(t, "no number")}, []any{wire.Result, records[3].Ref, 4})
	got := wait(t, done).value
	for i, want := range []error{ErrBody, ErrUnknownTask, nil, ErrCancelled} {
		if got[i].Index != i || !errors.Is(got[i].Err, want) {
			t.Error(i, got[i])
		}
	}
	if got[2].Value != 30 {
		t.Fatal(got)
	}
	if got := AwaitAll[int](ctx, c, nil); len(got) != 0 {
		t.Fatal(got)
	}
	for _, o := range AwaitAll[int](ctx, c, ids, WithDelay(1)) {
		if !errors.Is(o.Err, ErrInvalid) {
			t.Fatal(o)
		}
	}
	for _, o := range AwaitAll[int](ctx, c, ids, WithTimeout(time.Millisecond)) {
		if !errors.Is(o.Err, ErrTimeout) {
			t.Fatal(o)
		}
	}
}

func TestAwaitsAreAskedAgainInAnotherSessionAndAtAnotherBroker(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	id := NewTaskID()
	done := background(func() (int, error) { return AwaitTask[int](ctx, c, id) })
	b.accept(5, nil).expect(wire.Await)
	b.close()
	b.open()
	l := b.accept(6, nil)
	r := l.expect(wire.Await)
	if a := l.sent(4); a[wire.Resent] != nil || TaskID(r.ID) != id {
		t.Fatal(a)
	}
	l.send([]any{wire.Error, r.Ref, "shutting_down", "was not run"}, []any{wire.Bye})
	l = b.accept(7, nil)
	l.send([]any{wire.Error, l.expect(wire.Await).Ref, "unknown_task", "no such task"})
	if got := wait(t, done); !errors.Is(got.err, ErrUnknownTask) {
		t.Fatal(got.err)
	}
}

func TestUpdateSendsWhatChanges(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	id := NewTaskID()
	large := string(make([]byte, wire.FrameBody))
	for _, u := range []struct {
		changes  []CallOption
		elements int
		sent     map[int64]any
		body     []byte
	}{
		{[]CallOption{WithPriority(PriorityLow)}, 4, map[int64]any{wire.Priority: int64(-10)}, nil},
		{[]CallOption{WithDelay(0)}, 4, map[int64]any{wire.Delay: int64(0)}, nil},
		{[]CallOption{WithNotBefore(time.Now().Add(-time.Hour)), WithTimeout(time.Minute)}, 4, map[int64]any{wire.Delay: int64(0)}, nil},
		{[]CallOption{WithBody(nil)}, 5, map[int64]any{}, pack(t, nil)},
		{[]CallOption{WithBody(7), WithPriority(3)}, 5, map[int64]any{wire.Priority: int64(3)}, pack(t, 7)},
		{[]CallOption{WithBody(large)}, 5, map[int64]any{}, pack(t, large)},
		{nil, 3, map[int64]any{}, nil},
	} {
		type answer struct {
			state   string
			updated bool
		}
		done := background(func() (answer, error) {
			state, updated, err := c.Update(ctx, id, u.changes...)
			return answer{state, updated}, err
		})
		r := l.expect(wire.Update)
		raw := wire.NewReader(l.last)
		if n := raw.List(); n != u.elements || TaskID(r.ID) != id || string(r.Body) != string(u.body) {
			t.Fatalf("%d elements, body %x: %s", n, r.Body, describe(r))
		}
		sent := map[int64]any{}
		if u.elements > 3 {
			for range 3 {
				raw.Skip(wire.MaxDepth)
			}
			for range raw.Map() {
				key := raw.Number()
				sent[key] = raw.Signed()
			}
		}
		if !reflect.DeepEqual(sent, u.sent) {
			t.Fatalf("sent %v, want %v", sent, u.sent)
		}
		l.send([]any{wire.Answer, r.Ref, map[string]any{"state": "running", "updated": len(u.changes) > 0, "more": 1}})
		if got := wait(t, done); got.err != nil || got.value != (answer{"running", len(u.changes) > 0}) {
			t.Fatal(got)
		}
	}
	done := background(func() (string, error) { state, _, err := c.Update(ctx, id, WithDelay(time.Hour)); return state, err })
	r := l.expect(wire.Update)
	l.send([]any{wire.Error, r.Ref, "unknown_task", "no such task"})
	if err := wait(t, done).err; !errors.Is(err, ErrUnknownTask) {
		t.Fatal(err)
	}
}

func TestWhatCannotBeChangedOrAskedIsAnErrorAtTheCaller(t *testing.T) {
	c := newTestClient(t, newBroker(t), Options{})
	id := NewTaskID()
	fixed := []CallOption{WithDeadline(1), WithRunTimeout(time.Second), WithHeartbeatTimeout(time.Second), WithAttempts(1),
		WithBackoff(Backoff{}), WithNoRetryOn("x"), WithUnique("k"), WithUniquePolicy(UniqueJoin), WithUniqueFor(1), WithRetention(1),
		WithOrderKey("k"), WithLimitKey("k"), WithGroup("g"), WithCost(2),
		WithLabels(map[string]string{"a": "b"}), WithRequires(nil), WithPrefers(nil), WithConsumes(nil), WithStickyKey("k"),
		WithID(id), Resent(), RerunOK(), WithTrace("t"), WithBaggage("b")}
	for i, option := range append(fixed, OnProgress(func(Progress) {}), OnLog(func(LogLine) {})) {
		if _, _, err := c.Update(ctx, id, option); !errors.Is(err, ErrInvalid) {
			t.Error("update takes option", i, err)
		}
	}
	for i, option := range append(fixed, WithPriority(1), WithDelay(1), WithNotBefore(time.Now()), WithBody(1)) {
		if _, err := AwaitTask[any](ctx, c, id, option); !errors.Is(err, ErrInvalid) {
			t.Error("await takes option", i, err)
		}
	}
	for i, option := range []CallOption{WithPriority(101), WithDelay(-1), WithDelay(longest + 1)} {
		if _, _, err := c.Update(ctx, id, option); !errors.Is(err, ErrInvalid) {
			t.Error("an update that is out of range", i, err)
		}
	}
	if _, _, err := c.Update(ctx, id, WithBody(func() {})); !errors.Is(err, ErrBody) {
		t.Error(err)
	}
	if _, err := c.Submit(ctx, "f", 1, WithBody(2)); !errors.Is(err, ErrInvalid) {
		t.Error("two bodies:", err)
	}
	if _, err := c.Push(ctx, "clean", 1, WithUnique("k")); !errors.Is(err, ErrInvalid) {
		t.Error("an item with a key:", err)
	}
}

func TestWhatTheBrokerKnowsOfATask(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	id := NewTaskID()
	ask := func(answer any) (*TaskStatus, error) {
		t.Helper()
		done := background(func() (*TaskStatus, error) { return c.Task(ctx, id) })
		r := l.expect(wire.Query)
		if found, err := decodeValue(r.Raw); string(r.Name) != "task" || err != nil || !reflect.DeepEqual(found, map[string]any{"id": id[:]}) {
			t.Fatal(describe(r), found, err)
		}
		l.send([]any{wire.Answer, r.Ref, answer})
		got := wait(t, done)
		return got.value, got.err
	}
	failed := map[string]any{"type": "A", "message": "no", "language": "python", "stack": "at"}
	got, err := ask(map[string]any{"state": "dead", "type": "f", "attempts": 3, "failures": 1, "crashes": 2, "priority": -5,
		"age": 1500, "worker": "w", "later": 1, "error": failed, "labels": map[string]any{"a": "b"}, "parent": id[:], "group": "g",
		"history": []any{map[string]any{"attempt": 1, "worker": "w1", "started": 900, "ended": 700, "error": failed}}})
	want := &TaskStatus{ID: id, Labels: map[string]string{"a": "b"}, Parent: id, Group: "g", State: "dead", Type: "f", Attempts: 3, Failures: 1, Crashes: 2, Priority: -5, Age: 1500 * time.Millisecond,
		Worker: "w", Error: &Failure{"A", "no", "python", "at"},
		History: []Attempt{{1, "w1", 900 * time.Millisecond, 700 * time.Millisecond, "A", "no", "python", "at"}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatal(fmt.Sprintf("%+v", got), err)
	}
	if got, err = ask(map[string]any{"state": "unknown"}); err != nil || !reflect.DeepEqual(got, &TaskStatus{ID: id, State: "unknown"}) {
		t.Fatal(got, err)
	}
	if _, err = ask(map[string]any{"state": 7}); !errors.Is(err, ErrBody) {
		t.Fatal(err)
	}
}
