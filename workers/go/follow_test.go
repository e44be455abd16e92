package tusk

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/lz4frame"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

func TestProgressAndLogsComeInOrderAndBeforeTheResult(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	var told []string
	call := background(func() (int, error) {
		return Call[int](ctx, c, "f", 1,
			OnProgress(func(p Progress) {
				found, err := p.Value()
				time.Sleep(time.Millisecond)
				told = append(told, fmt.Sprint(p.Attempt, " ", found, " ", err))
			}),
			OnLog(func(line LogLine) {
				told = append(told, fmt.Sprintf("%d %v: %s", line.Attempt, line.Level, line.Text))
				panic("the client goes on")
			}))
	})
	l := b.accept(5, nil)
	n := l.expect(wire.Submit).Ref
	long := strings.Repeat("x", 20_000)
	l.send([]any{wire.Progress, n, pack(t, 1), attributes{4: 1}},
		[]any{wire.Log, n, 2, "half way", attributes{4: 1}},
		[]any{wire.Progress, n + 1, pack(t, 1)}, // nobody's
		[]any{wire.Progress, n, lz4frame.Compress(pack(t, long)), attributes{4: 2, 29: 1}},
		[]any{wire.Progress, n, []byte{0xc1}, attributes{4: 2}},
		[]any{wire.Progress, n, pack(t, 1), attributes{27: 9}}, // cannot be read, and is left out
		[]any{wire.Log, n, 4, "broke"},
		[]any{wire.Result, n, 1, pack(t, 7)})
	if got := wait(t, call); got.value != 7 || got.err != nil {
		t.Fatal(got)
	}
	want := []string{"1 1 <nil>", "1 info: half way", "2 " + long + " <nil>", "2 <nil> tusk: body: ", "0 error: broke"}
	if !slices.EqualFunc(told, want, strings.HasPrefix) {
		t.Fatal(told)
	}
}

func TestWhatASlowCallbackDoesNotKeepUpWithIsMissed(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	gate := make(chan struct{})
	var told []int
	task, err := c.Submit(ctx, "f", 1, OnProgress(func(p Progress) {
		<-gate
		var n int
		if err := p.Decode(&n); err != nil {
			t.Error(err)
		}
		told = append(told, n)
	}))
	if err != nil {
		t.Fatal(err)
	}
	l := b.accept(5, nil)
	n := l.expect(wire.Submit).Ref
	for i := range 2 * followMost {
		l.send([]any{wire.Progress, n, pack(t, i)})
	}
	l.send([]any{wire.Result, n, 1, pack(t, 7)}, []any{wire.Ping, 1})
	l.expect(wire.Pong)
	select {
	case <-task.Done():
		t.Fatal("the result came before its progress was told")
	default:
	}
	close(gate)
	if _, err := Result[int](ctx, task); err != nil {
		t.Fatal(err)
	}
	if len(told) > followMost+1 || told[len(told)-1] != 2*followMost-1 || !slices.IsSorted(told) {
		t.Fatal(len(told), told[len(told)-1])
	}
}

func TestADeadTaskTellsWhatItsRunsDied(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	call := background(func() (int, error) { return Call[int](ctx, c, "f", 1) })
	l := b.accept(5, nil)
	n := l.expect(wire.Submit).Ref
	failed := func(kind string) map[string]any {
		return map[string]any{"type": kind, "message": "no", "language": "python", "stack": "at"}
	}
	l.send([]any{wire.Result, n, 5, nil, attributes{2: failed("B"), 4: 2, 28: []any{
		map[string]any{"attempt": 1, "worker": "w1", "started": 900, "ended": 700, "error": failed("A"), "later": 1},
		map[string]any{"attempt": 2, "worker": "w2", "started": 500, "ended": 0, "error": failed("B")}}}})
	e, _ := wait(t, call).err.(*TaskError)
	want := []Attempt{
		{1, "w1", 900 * time.Millisecond, 700 * time.Millisecond, "A", "no", "python", "at"},
		{2, "w2", 500 * time.Millisecond, 0, "B", "no", "python", "at"}}
	if e == nil || e.State != "dead" || !slices.Equal(e.History, want) {
		t.Fatalf("%+v", e)
	}
}
