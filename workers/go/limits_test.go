package tusk

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

func TestControlsAreAskedAndAnswered(t *testing.T) {
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	l := b.accept(5, nil)
	for _, asked := range []struct {
		control func() (bool, error)
		what    string
		sent    map[string]any
		done    bool
	}{
		{func() (bool, error) { return c.PauseType(ctx, "f", 1500*time.Microsecond) }, "pause", map[string]any{"type": "f", "ms": int64(2)}, true},
		{func() (bool, error) { return c.PauseType(ctx, "f", 0) }, "pause", map[string]any{"type": "f", "ms": int64(0)}, false},
		{func() (bool, error) { return c.Unblock(ctx, "f", "k") }, "unblock", map[string]any{"type": "f", "key": "k"}, true},
	} {
		done := background(asked.control)
		r := l.expect(wire.Control)
		if sent, err := decodeValue(r.Raw); string(r.Name) != asked.what || err != nil || !reflect.DeepEqual(sent, asked.sent) {
			t.Fatal(describe(r), sent, err)
		}
		l.send([]any{wire.Answer, r.Ref, map[string]any{"done": asked.done, "later": 1}})
		if got := wait(t, done); got.err != nil || got.value != asked.done {
			t.Fatal(got)
		}
	}
	done := background(func() (bool, error) { return c.PauseType(ctx, "g", 1) })
	l.send([]any{wire.Error, l.expect(wire.Control).Ref, "invalid", "no such type"})
	var e *Error
	if err := wait(t, done).err; !errors.Is(err, ErrInvalid) || !errors.As(err, &e) || e.URL != b.url {
		t.Fatal(err)
	}
	done = background(func() (bool, error) { return c.Unblock(ctx, "f", "k") })
	l.send([]any{wire.Answer, l.expect(wire.Control).Ref, 7})
	if err := wait(t, done).err; !errors.Is(err, ErrBody) {
		t.Fatal(err)
	}
}

func TestAControlThatIsOutOfRangeIsNotSent(t *testing.T) {
	c := newTestClient(t, newBroker(t), Options{})
	pause := func(taskType string, d time.Duration) error { _, err := c.PauseType(ctx, taskType, d); return err }
	unblock := func(taskType, key string) error { _, err := c.Unblock(ctx, taskType, key); return err }
	for says, err := range map[string]error{
		"the pause is -1ms, and has to be from 0s to 100 years": pause("f", -time.Millisecond),
		"the pause is 876001h":                                pause("f", longest+time.Hour),
		"type is \"\", and has to be UTF-8 of 1 to 255 bytes": pause("", 1),
		"type is \"xx":                                        unblock(strings.Repeat("x", 256), "k"),
		"order_key is \"\", and":                              unblock("f", ""),
		"order_key is \"\\xff\"":                              unblock("f", "\xff"),
	} {
		var e *Error
		if !errors.Is(err, ErrInvalid) || !errors.As(err, &e) || !strings.Contains(e.Message, says) || e.URL != "" {
			t.Errorf("%v, and not %q", err, says)
		}
	}
}

func TestWhatARunCostGoesWithItsResult(t *testing.T) {
	b := newBroker(t)
	over := make(chan TaskInfo, 1)
	startWorker(t, b, WorkerOptions{Slots: 4}, func(w *Worker) {
		Handle(w, "f", func(ctx context.Context, how string) (any, error) {
			task, _ := TaskFromContext(ctx)
			if err := task.SetCost(5); err != nil {
				return nil, err
			}
			switch how {
			case "fails":
				return nil, NoRetry(errors.Join(errors.New("no"), task.SetCost(mostCost)))
			case "panics":
				panic("no")
			case "bad":
				for _, units := range []int{-1, mostCost + 1} {
					if err := task.SetCost(units); !errors.Is(err, ErrInvalid) {
						t.Error(units, err)
					}
				}
			case "nothing":
				if err := task.SetCost(0); err != nil {
					return nil, err
				}
			}
			over <- task
			return how, nil
		})
		HandleStageBatch(w, "list", Batch{Size: 2}, func(_ context.Context, items []Item[int]) ([]Output[int], error) {
			return []Output[int]{{Value: 1}, {Err: Drop}}, items[1].Task.SetCost(9)
		})
	})
	l := b.accept(5, nil)
	for handle, want := range []struct {
		how  string
		cost int64
	}{{"fails", mostCost}, {"panics", 5}, {"bad", 5}, {"nothing", 0}} {
		l.task(int64(handle+1), "f", want.how)
		r := l.expect(wire.Result)
		if sent := l.sent(5); sent[wire.Cost] != want.cost || (r.State == wire.Failed) != (sent[wire.ErrorMap] != nil) {
			t.Fatal(want, describe(r), sent)
		}
		if r.State == wire.Succeeded {
			if err := wait(t, over).SetCost(1); err != nil { // it is over
				t.Fatal(err)
			}
		}
	}
	var none TaskInfo
	if err := none.SetCost(1); err != nil {
		t.Fatal(err)
	}
	var items [][]any
	for handle := range 2 {
		id := NewTaskID()
		items = append(items, []any{wire.Item, handle + 1, id[:], "list", 1, pack(t, handle)})
	}
	l.send(items...)
	for range 2 {
		r := l.expect(wire.Result)
		if cost := l.sent(5)[wire.Cost]; r.Ref == 1 && cost != nil || r.Ref == 2 && cost != int64(9) {
			t.Fatal(describe(r), cost)
		}
	}
}

func TestWhatARunCostGoesWithItsResultInAnotherSessionToo(t *testing.T) {
	b := newBroker(t)
	startWorker(t, b, WorkerOptions{}, func(w *Worker) {
		Handle(w, "f", func(ctx context.Context, _ any) (any, error) {
			task, _ := TaskFromContext(ctx)
			return nil, task.SetCost(5)
		})
	})
	l := b.accept(5, nil)
	l.task(1, "f", nil)
	l.mute = true
	l.expect(wire.Result)
	b.close()
	b.open()
	again := b.hello()
	claims := again.fields["claims"].([]any)
	again.welcome(6, false, 0, map[string]any{"claims": []any{[]any{claims[0].([]any)[0], 70}}})
	if r := again.expect(wire.Result); r.Ref != 70 || again.sent(5)[wire.Cost] != int64(5) {
		t.Fatal(describe(r), again.sent(5))
	}
}
