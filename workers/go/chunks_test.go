package tusk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// chunk sends what a broker passes on.
func (l *link) chunk(request int64, attempt, index int, v any) {
	l.b.t.Helper()
	l.send([]any{wire.Chunk, request, pack(l.b.t, v), attributes{wire.Attempt: attempt, wire.Index: index}})
}

// stream asks for one; the broker has the task.
func stream(t *testing.T, options ...CallOption) (*ChunkStream[int], *link, wire.Record) {
	t.Helper()
	b := newBroker(t)
	c := newTestClient(t, b, Options{})
	s, err := Stream[int](ctx, c, "count", 5, options...)
	if err != nil {
		t.Fatal(err)
	}
	l := b.accept(5, nil)
	r := l.expect(wire.Submit)
	if r.ID != s.ID() {
		t.Fatal(describe(r))
	}
	return s, l, r
}

// read takes what there is, as text, until the stream ends.
func read(s *ChunkStream[int]) (found []string) {
	for chunk, err := range s.All(ctx) {
		var restarted *StreamRestarted
		var broken *StreamBroken
		switch {
		case errors.As(err, &restarted):
			found = append(found, fmt.Sprint("attempt ", restarted.Attempt))
		case errors.As(err, &broken):
			found = append(found, fmt.Sprint("missing ", broken.Missing))
		case err != nil:
			found = append(found, err.Error())
		default:
			found = append(found, fmt.Sprint(chunk))
		}
	}
	return found
}

func TestAStreamGivesChunksInOrderAndTheResultBehindThem(t *testing.T) {
	s, l, r := stream(t, WithWindow(4))
	if sent := l.sent(6); sent[wire.Stream] != int64(4) || sent[wire.Wait] != nil {
		t.Fatal(sent)
	}
	var early int
	if err := s.Result(&early); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "has not been read to its end") {
		t.Fatal(err)
	}
	for index := range 4 {
		l.chunk(r.Ref, 1, index+1, (index+1)*10)
	}
	for n := 1; n <= 3; n++ {
		if chunk, err := s.Next(ctx); err != nil || chunk != n*10 {
			t.Fatal(chunk, err)
		}
	}
	// Half of the window was taken, and one more.
	if credit := l.expect(wire.Credit); credit.Ref != r.Ref || credit.ID != r.ID || credit.Count != 2 {
		t.Fatal(describe(credit), credit.Count)
	}
	l.chunk(r.Ref, 1, 5, 50)
	l.send([]any{wire.Result, r.Ref, 1, pack(t, 5), attributes{wire.Chunks: 5, wire.Attempt: 1}})
	if found := read(s); !slices.Equal(found, []string{"40", "50"}) {
		t.Fatal(found)
	}
	var result int
	if err := s.Result(&result); err != nil || result != 5 {
		t.Fatal(result, err)
	}
	if _, err := s.Next(ctx); err != io.EOF {
		t.Fatal(err)
	}
}

func TestAWindowOfOneGivesCreditForEachChunk(t *testing.T) {
	s, l, r := stream(t, WithWindow(1))
	for n := 1; n <= 3; n++ {
		l.chunk(r.Ref, 1, n, n)
		if chunk, err := s.Next(ctx); err != nil || chunk != n {
			t.Fatal(chunk, err)
		}
		if credit := l.expect(wire.Credit); credit.Count != 1 {
			t.Fatal(credit.Count)
		}
	}
}

func TestWhatAStreamLostIsTold(t *testing.T) {
	type c struct{ attempt, index int }
	for name, test := range map[string]struct {
		chunks []c
		result attributes
		want   []string
	}{
		"another attempt":           {[]c{{1, 1}, {1, 2}, {2, 1}}, attributes{wire.Chunks: 1, wire.Attempt: 2}, []string{"11", "12", "attempt 2", "21"}},
		"a gap":                     {[]c{{1, 1}, {1, 4}}, attributes{wire.Chunks: 4, wire.Attempt: 1}, []string{"11", "missing 2", "14"}},
		"a gap in another attempt":  {[]c{{1, 1}, {3, 2}}, attributes{wire.Chunks: 2, wire.Attempt: 3}, []string{"11", "attempt 3", "missing 1", "32"}},
		"the last ones":             {[]c{{1, 1}}, attributes{wire.Chunks: 3, wire.Attempt: 1}, []string{"11", "missing 2"}},
		"all of the last attempt":   {[]c{{1, 1}}, attributes{wire.Chunks: 2, wire.Attempt: 2}, []string{"11", "missing 2"}},
		"nothing":                   {nil, attributes{wire.Chunks: 0, wire.Attempt: 1}, nil},
		"nothing of a late attempt": {[]c{{2, 1}, {1, 2}}, attributes{wire.Chunks: 1, wire.Attempt: 2}, []string{"21"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, l, r := stream(t)
			for _, chunk := range test.chunks {
				l.chunk(r.Ref, chunk.attempt, chunk.index, chunk.attempt*10+chunk.index)
			}
			l.send([]any{wire.Result, r.Ref, 1, pack(t, 0), test.result})
			if found := read(s); !slices.Equal(found, test.want) {
				t.Fatal(found)
			}
			var result int
			if err := s.Result(&result); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestARunThatFailsDoesSoBehindItsChunks(t *testing.T) {
	s, l, r := stream(t)
	l.chunk(r.Ref, 1, 1, 1)
	l.chunk(r.Ref, 1, 2, "text") // does not fit
	l.send([]any{wire.Result, r.Ref, 2, nil, attributes{wire.Chunks: 2, wire.Attempt: 1, 2: map[string]any{"type": "E", "message": "no"}}})
	found := read(s)
	if len(found) != 3 || found[0] != "1" || !strings.Contains(found[1], "tusk: body") || !strings.Contains(found[2], "failed: E: no") {
		t.Fatal(found)
	}
	if err := s.Result(new(int)); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
}

func TestLeavingAStreamCancelsItsTask(t *testing.T) {
	s, l, r := stream(t)
	l.chunk(r.Ref, 1, 1, 1)
	for chunk, err := range s.All(ctx) {
		if err != nil || chunk != 1 {
			t.Fatal(chunk, err)
		}
		break
	}
	if cancel := l.expect(wire.Cancel); cancel.ID != s.ID() {
		t.Fatal(describe(cancel))
	}
	if _, err := s.Next(ctx); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	s.Close()
	l.silent(2 * ackDelay)
}

func TestTheEndOfAContextEndsOnlyTheWaitingForAChunk(t *testing.T) {
	s, l, r := stream(t)
	short, end := context.WithCancel(ctx)
	end()
	if _, err := s.Next(short); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	l.chunk(r.Ref, 1, 1, 1)
	if chunk, err := s.Next(ctx); err != nil || chunk != 1 {
		t.Fatal(chunk, err)
	}
}

// A broker that was restarted is asked again, with the whole window: what was read before earns no credit.
func TestAStreamIsAskedForAgainInAnotherSession(t *testing.T) {
	s, l, r := stream(t, WithWindow(4))
	l.chunk(r.Ref, 1, 1, 1)
	l.bare([]any{wire.Error, 0, "stale_session", "restarted"})
	l = l.b.hello()
	l.welcome(6, false, 0, nil)
	again := l.expect(wire.Submit)
	if sent := l.sent(6); again.ID != r.ID || sent[wire.Stream] != int64(4) || sent[wire.Resent] != true {
		t.Fatal(sent)
	}
	l.chunk(again.Ref, 2, 1, 1)
	l.send([]any{wire.Result, again.Ref, 1, pack(t, 1), attributes{wire.Chunks: 1, wire.Attempt: 2}})
	if found := read(s); !slices.Equal(found, []string{"1", "attempt 2", "1"}) {
		t.Fatal(found)
	}
	l.silent(2 * ackDelay)
}

func TestAWindowThatIsOutOfRangeIsNotSent(t *testing.T) {
	c := newTestClient(t, newBroker(t), Options{})
	ask := func(window int) error { _, err := Stream[int](ctx, c, "f", 1, WithWindow(window)); return err }
	_, call := c.Submit(ctx, "f", 1, WithWindow(1))
	_, await := AwaitTask[int](ctx, c, NewTaskID(), WithWindow(1))
	for says, err := range map[string]error{
		"window is 0, and has to be from 1 to 1024":    ask(0),
		"window is 1025, and has to be from 1 to 1024": ask(1025),
		"WithWindow is for Stream":                     call,
		"awaiting a task takes":                        await,
	} {
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, and not %q", err, says)
		}
	}
}

func sender(t *testing.T) (*link, chan error) {
	t.Helper()
	b := newBroker(t)
	last := make(chan error, 1)
	startWorker(t, b, WorkerOptions{}, func(w *Worker) {
		Handle(w, "count", func(ctx context.Context, n int) (int, error) {
			task, _ := TaskFromContext(ctx)
			for i := range n {
				if err := task.Send(ctx, i+1); err != nil {
					last <- err
					return 0, err
				}
			}
			last <- task.Send(ctx, make(chan int))
			return n, nil
		})
	})
	return b.accept(5, nil), last
}

func TestAHandlersChunksComeAsFarAsItHasCreditAndBeforeItsResult(t *testing.T) {
	l, last := sender(t)
	id := NewTaskID()
	l.send([]any{wire.Task, 1, id[:], "count", 1, pack(t, 5), attributes{wire.Stream: 2}})
	expect := func(from, to int) {
		t.Helper()
		for n := from; n <= to; n++ {
			if r := l.expect(wire.Chunk); r.Ref != 1 || string(r.Body) != string(pack(t, n)) || r.Attrs != nil {
				t.Fatal(describe(r))
			}
		}
	}
	expect(1, 2)
	l.silent(2 * ackDelay)
	l.send([]any{wire.Credit, 1, 1})
	expect(3, 3)
	l.send([]any{wire.Credit, 1, 1000})
	expect(4, 5)
	if r := l.expect(wire.Result); r.State != wire.Succeeded {
		t.Fatal(describe(r))
	}
	if err := wait(t, last); !errors.Is(err, ErrBody) {
		t.Fatal(err)
	}
}

func TestAHandlerThatWaitsForCreditIsCancelled(t *testing.T) {
	l, last := sender(t)
	id := NewTaskID()
	l.send([]any{wire.Task, 1, id[:], "count", 1, pack(t, 5), attributes{wire.Stream: 1}})
	l.expect(wire.Chunk)
	l.send([]any{wire.Cancel, 1, id[:]})
	if r := l.expect(wire.Result); r.State != wire.Cancelled {
		t.Fatal(describe(r))
	}
	if err := wait(t, last); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestWithoutAStreamAHandlerSendsNothing(t *testing.T) {
	l, last := sender(t)
	l.task(1, "count", 5)
	if r := l.expect(wire.Result); r.State != wire.Succeeded {
		t.Fatal(describe(r))
	}
	if err := wait(t, last); err != nil {
		t.Fatal(err)
	}
	if err := (TaskInfo{}).Send(ctx, 1); err != nil {
		t.Fatal(err)
	}
}
