package tusk

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// family is a worker of one slot whose type "parent" calls a child of the type "child" for each of its
// inputs, and what its two sessions say.
type family struct {
	*link         // of the worker
	client  *link // of its children; nil: none was submitted yet
	ended   chan TaskInfo
	started chan TaskInfo
}

func newFamily(t *testing.T, slots int, more func(w *Worker)) *family {
	t.Helper()
	b := newBroker(t)
	f := &family{ended: make(chan TaskInfo, 10), started: make(chan TaskInfo, 10)}
	startWorker(t, b, WorkerOptions{Slots: slots}, func(w *Worker) {
		Handle(w, "parent", func(ctx context.Context, in []int) ([]int, error) {
			task, _ := TaskFromContext(ctx)
			defer func() { f.ended <- task }()
			f.started <- task
			return CallChildren[int](ctx, "child", slices.Values(in))
		})
		if more != nil {
			more(w)
		}
	})
	f.link = b.accept(5, nil)
	return f
}

// children takes so many submits of children, and accepts them.
func (f *family) children(n int) []wire.Record {
	t := f.b.t
	t.Helper()
	if f.client == nil {
		f.client = f.b.accept(6, nil)
	}
	submits := make([]wire.Record, n)
	for i := range submits {
		submits[i] = f.client.expect(wire.Submit)
		if sent := f.client.sent(6); sent[wire.Reply] != int64(acceptedToo) {
			t.Fatal(sent)
		}
		f.client.send([]any{wire.Accepted, submits[i].Ref})
	}
	return submits
}

func (f *family) end(submit wire.Record, result any) {
	f.b.t.Helper()
	f.client.send([]any{wire.Result, submit.Ref, 1, pack(f.b.t, result)})
}

// suspended takes a suspend, which must be about these, in any order.
func (f *family) suspended(handle int64, children ...wire.Record) {
	f.b.t.Helper()
	r := f.expect(wire.Suspend)
	var ids [][]byte
	if err := value.Decode(r.Raw, &ids); err != nil || r.Ref != handle || r.Count != 0 || len(ids) != len(children) {
		f.b.t.Fatal(describe(r), ids, err)
	}
	for _, child := range children {
		if !slices.ContainsFunc(ids, func(id []byte) bool { return TaskID(id) == child.ID }) {
			f.b.t.Fatalf("suspended for %x, which lacks %x", ids, child.ID)
		}
	}
}

func TestAParentIsSuspendedUntilItsChildrenHaveEndedAndItHasASlot(t *testing.T) {
	f := newFamily(t, 1, func(w *Worker) { Handle(w, "add", add) })
	parent := f.task(1, "parent", []int{1, 2})
	children := f.children(2)
	if sent := f.client.sent(6); !slices.Equal(sent[wire.Parent].([]byte), parent[:]) || sent[wire.Wait] != nil || string(children[1].Name) != "child" {
		t.Fatal(sent)
	}
	f.suspended(1, children...)
	// Its slot is lent out.
	f.task(2, "add", map[string]int{"a": 1, "b": 2})
	if r := f.expect(wire.Result); r.Ref != 2 {
		t.Fatal(describe(r))
	}
	f.end(children[1], 20)
	f.end(children[0], 10)
	// The results alone do not let it go on.
	f.client.send([]any{wire.Ping, 7})
	f.client.expect(wire.Pong)
	f.task(3, "add", map[string]int{"a": 1, "b": 2})
	if r := f.expect(wire.Result); r.Ref != 3 {
		t.Fatal(describe(r))
	}
	select {
	case <-f.ended:
		t.Fatal("it goes on without a slot")
	default:
	}
	f.send([]any{wire.Resume, 1})
	if r := f.expect(wire.Result); r.Ref != 1 || string(r.Body) != string(pack(t, []int{10, 20})) {
		t.Fatal(describe(r))
	}
}

func TestAResumeThatComesFirstWaitsForTheResult(t *testing.T) {
	f := newFamily(t, 1, nil)
	f.task(1, "parent", []int{1})
	child := f.children(1)
	f.suspended(1, child...)
	f.send([]any{wire.Resume, 1})
	// The broker may not know the child yet: it is told again, after a rest.
	f.suspended(1, child...)
	f.end(child[0], 10)
	f.send([]any{wire.Resume, 1})
	if r := f.expect(wire.Result); r.State != 1 {
		t.Fatal(describe(r))
	}
}

func TestWhatHasEndedAlreadyIsNotWaitedFor(t *testing.T) {
	there := make(chan struct{})
	f := newFamily(t, 1, func(w *Worker) {
		Handle(w, "later", func(ctx context.Context, _ any) (any, error) {
			task, _ := TaskFromContext(ctx)
			var children []*Task
			for i := range 2 {
				child, err := task.Submit(ctx, "child", i, WithLabels(map[string]string{"a": "b"}))
				if err != nil {
					return nil, err
				}
				children = append(children, child)
			}
			<-children[0].Done()
			close(there)
			if first, err := Result[int](ctx, children[0]); err != nil || first != 10 {
				return nil, errors.Join(errors.New("the first"), err)
			}
			return Results[int](ctx, children...)
		})
	})
	f.task(1, "later", nil)
	children := f.children(2)
	if sent := f.client.sent(6); !reflect.DeepEqual(sent[wire.Labels], map[string]any{"a": "b"}) {
		t.Fatal(sent)
	}
	f.end(children[0], 10)
	wait(t, there)
	f.suspended(1, children[1])
	f.end(children[1], 20)
	f.send([]any{wire.Resume, 1})
	if r := f.expect(wire.Result); string(r.Body) != string(pack(t, []int{10, 20})) {
		t.Fatal(describe(r))
	}
}

func TestARunThatIsNotSuspendedKeepsItsSlotAndWaits(t *testing.T) {
	for name, refusal := range map[string][]any{
		"full":        {wire.Error, 1, "full", "200 runs are suspended", map[string]any{"limit": "max_suspended"}},
		"unsupported": {wire.Error, 1, "unsupported", "kind 35", map[string]any{"kind": 35}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFamily(t, 1, nil)
			f.task(1, "parent", []int{1})
			children := f.children(1)
			f.suspended(1, children...)
			f.send(refusal)
			f.end(children[0], 10)
			if r := f.expect(wire.Result); r.State != wire.Succeeded || string(r.Body) != string(pack(t, []int{10})) {
				t.Fatal(describe(r))
			}
		})
	}
}

func TestARunThatMustNotWaitForItsOwnParentFails(t *testing.T) {
	f := newFamily(t, 1, nil)
	f.task(1, "parent", []int{1})
	f.suspended(1, f.children(1)...)
	f.send([]any{wire.Error, 1, "invalid", "a run waits for its own parent", map[string]any{"field": "ids"}})
	r := f.expect(wire.Result)
	if failed := errorOf(t, r); !strings.Contains(failed.Message, "its own parent") || failed.Type != "*tusk.Error" {
		t.Fatal(failed)
	}
}

func TestASuspendedRunIsCancelled(t *testing.T) {
	f := newFamily(t, 1, nil)
	f.task(1, "parent", []int{1})
	children := f.children(1)
	f.suspended(1, children...)
	f.send([]any{wire.Cancel, 1, make([]byte, 16), attributes{26: "parent"}})
	if r := f.expect(wire.Result); r.State != wire.Cancelled {
		t.Fatal(describe(r))
	}
	if reason := wait(t, f.ended).CancelReason(); reason != "parent" {
		t.Fatal(reason)
	}
	if r := f.client.expect(wire.Cancel); r.ID != children[0].ID {
		t.Fatal(describe(r))
	}
	f.task(2, "parent", []int{})
	if r := f.expect(wire.Result); r.Ref != 2 {
		t.Fatal(describe(r))
	}
}

func TestAChildThatFailsIsItsParentsError(t *testing.T) {
	f := newFamily(t, 1, nil)
	f.task(1, "parent", []int{1, 2})
	children := f.children(2)
	f.suspended(1, children...)
	f.client.send([]any{wire.Result, children[0].Ref, 2, nil, attributes{2: map[string]any{"type": "E", "message": "no"}}},
		[]any{wire.Result, children[1].Ref, 1, pack(t, 20)})
	f.send([]any{wire.Resume, 1})
	if failed := errorOf(t, f.expect(wire.Result)); failed.Type != "*tusk.TaskError" || !strings.Contains(failed.Message, "E: no") {
		t.Fatal(failed)
	}
}

func TestGoroutinesOfOneHandlerShareItsSuspension(t *testing.T) {
	f := newFamily(t, 1, func(w *Worker) {
		Handle(w, "spread", func(ctx context.Context, in []int) (int, error) {
			var all sync.WaitGroup
			sums := make(chan int, len(in))
			for _, n := range in {
				all.Add(1)
				go func() {
					defer all.Done()
					n, err := CallChild[int](ctx, "child", n)
					if err != nil {
						t.Error(err)
					}
					sums <- n
				}()
			}
			all.Wait()
			sum := 0
			for range in {
				sum += <-sums
			}
			return sum, nil
		})
	})
	f.task(1, "spread", []int{1, 2, 3})
	// Whatever the broker lets it go on for, it says suspend as long as one is left.
	children := f.children(3)
	for _, child := range children {
		r := f.expect(wire.Suspend)
		f.end(child, 10)
		f.client.send([]any{wire.Ping, 7})
		f.client.expect(wire.Pong)
		f.send([]any{wire.Resume, r.Ref})
	}
	for {
		r := f.next()
		if r.Kind == wire.Suspend {
			f.send([]any{wire.Resume, r.Ref})
			continue
		}
		if r.Kind != wire.Result || string(r.Body) != string(pack(t, 30)) {
			t.Fatal(describe(r))
		}
		return
	}
}

func TestASuspendedRunThatIsAdoptedSaysSoUnderItsNewHandle(t *testing.T) {
	f := newFamily(t, 1, func(w *Worker) { Handle(w, "add", add) })
	id := f.task(1, "parent", []int{1, 2})
	children := f.children(2)
	f.suspended(1, children...)
	f.end(children[0], 10)
	f.client.send([]any{wire.Ping, 7})
	f.client.expect(wire.Pong)
	f.bare([]any{wire.Error, 0, "stale_session", "restarted"})
	l := f.b.hello()
	l.welcome(8, false, 0, map[string]any{"claims": []any{[]any{id[:], 31}}})
	f.link = l
	f.suspended(31, children[1])
	f.end(children[1], 20)
	f.send([]any{wire.Resume, 31})
	if r := f.expect(wire.Result); r.Ref != 31 || string(r.Body) != string(pack(t, []int{10, 20})) {
		t.Fatal(describe(r))
	}
}

func TestOnlyARunThatGoesOnHasChildren(t *testing.T) {
	f := newFamily(t, 1, nil)
	f.task(1, "parent", []int{})
	f.expect(wire.Result)
	task := wait(t, f.ended)
	_, over := task.Submit(ctx, "child", 1)
	_, outside := CallChild[int](ctx, "child", 1)
	_, many := CallChildren[int](ctx, "child", slices.Values([]int{1}))
	for name, err := range map[string]error{"over": over, "outside": outside, "many": many} {
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "the context of its handler") {
			t.Error(name, err)
		}
	}
}

func TestAStageHandlersTasksAreNoChildrenAndItKeepsItsSlot(t *testing.T) {
	f := newFamily(t, 1, func(w *Worker) {
		HandleStage(w, "clean", func(ctx context.Context, n int) (int, error) { return CallChild[int](ctx, "child", n) })
	})
	id := NewTaskID()
	f.send([]any{wire.Item, 1, id[:], "clean", 1, pack(t, 1)})
	children := f.children(1)
	if sent := f.client.sent(6); sent[wire.Parent] != nil {
		t.Fatal(sent)
	}
	f.end(children[0], 10)
	if r := f.expect(wire.Result); r.State != wire.Succeeded {
		t.Fatal(describe(r))
	}
}
