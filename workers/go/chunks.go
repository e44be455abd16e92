package tusk

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// defaultWindow is how many chunks of a stream may be on their way, if the caller does not say.
const defaultWindow = 16

// Send hands one more value to the caller of this task's Stream, before the result. It waits while the
// caller has as many as it asked for and has not taken them, until ctx or the run is told to stop: then it is
// their error. If nobody asked for a stream it does nothing. A value that cannot be written is ErrBody, one
// that is too large ErrTooLarge; neither is sent. Any goroutine may call it; it is a sign of life.
func (t TaskInfo) Send(ctx context.Context, v any) error {
	if !t.goesOn() || t.run.given == nil || t.run.given.stream == nil {
		return nil
	}
	w := t.run.handler.worker
	b, err := writeBody(v, w.session.terms())
	if err == nil {
		err = t.run.given.stream.take(ctx, &t.run.ctx)
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queueNotice(&notice{run: t.run, kind: wire.Chunk, body: b})
	return nil
}

// outflow is how many chunks a run may still send.
type outflow struct {
	mu     sync.Mutex
	credit int64
	more   chan struct{} // closed when there is credit; nil: nobody waits
}

func (o *outflow) add(chunks int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.credit += chunks
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
}

// take waits for the credit of one chunk, until either context ends.
func (o *outflow) take(ctx context.Context, run context.Context) error {
	for {
		if err := run.Err(); err != nil {
			return err
		}
		o.mu.Lock()
		if o.credit > 0 {
			o.credit--
			o.mu.Unlock()
			return nil
		}
		if o.more == nil {
			o.more = make(chan struct{})
		}
		more := o.more
		o.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		case <-run.Done():
		}
	}
}

// WithWindow is how many chunks of a Stream may be on their way to a program that does not take them, from 1
// to 1,024; 16 without it.
func WithWindow(chunks int) CallOption {
	return func(r *request) { r.window = &chunks }
}

// StreamRestarted says that what comes next is from another attempt of the task, which sends its stream from
// the beginning. Reading goes on behind it.
type StreamRestarted struct{ Attempt int }

func (e *StreamRestarted) Error() string {
	return fmt.Sprintf("tusk: the stream begins anew: attempt %d", e.Attempt)
}

// StreamBroken says that chunks were lost, with a session of the worker or the caller. Reading goes on behind
// it.
type StreamBroken struct{ Missing int64 }

func (e *StreamBroken) Error() string {
	return fmt.Sprintf("tusk: %d chunks of the stream are missing", e.Missing)
}

// ChunkStream is what a task's handler sends one by one. One goroutine reads it.
type ChunkStream[T any] struct {
	task *Task
	err  error // nil: it has not been read to its end
}

// Stream runs a task and reads what its handler sends (see TaskInfo.Send) while it runs. ctx is looked at
// before the task is submitted; its deadline is the time-out, as WithTimeout. Without either, the stream may
// take as long as it likes while the broker is there.
//
//	words, err := tusk.Stream[string](ctx, client, "complete", prompt)
//	defer words.Close()
//	for word, err := range words.All(ctx) { ... }
//	var used int
//	err = words.Result(&used)
func Stream[T any](ctx context.Context, c *Client, taskType string, in any, options ...CallOption) (*ChunkStream[T], error) {
	asStream := func(r *request) {
		if r.window == nil {
			window := defaultWindow
			r.window = &window
		}
		r.keep, r.patient = true, r.patience == 0
		r.stream = &inflow{more: make(chan struct{}, 1)}
	}
	r, err := c.submit(ctx, taskType, in, 0, nil, append(options[:len(options):len(options)], asStream))
	if err != nil {
		return nil, err
	}
	return &ChunkStream[T]{task: &Task{client: c, request: r}}, nil
}

// ID names the task.
func (s *ChunkStream[T]) ID() TaskID { return s.task.ID() }

// Next returns the next chunk. Behind the last it is io.EOF, or the error that the task ended with, as Call
// says. *StreamRestarted and *StreamBroken tell of what was lost; the next call goes on. The end of ctx ends
// only the waiting. A chunk that does not fit T is ErrBody; the next call goes on, too.
func (s *ChunkStream[T]) Next(ctx context.Context) (chunk T, err error) {
	if s.err != nil {
		return chunk, s.err
	}
	c, r := s.task.client, s.task.request
	for {
		next, there := r.stream.pop()
		if !there {
			select {
			case <-r.stream.more:
				continue
			case <-r.done:
				if next, there = r.stream.pop(); !there { // chunks come before the result
					s.err = io.EOF
					if r.err != nil {
						s.err = r.err
					}
					return chunk, s.err
				}
			case <-ctx.Done():
				return chunk, c.contextError(&request{kind: wire.Await, id: r.id}, ctx.Err())
			}
		}
		if next.err != nil {
			return chunk, next.err
		}
		if credit := r.stream.taken(next, (int64(*r.window)+1)/2); credit > 0 {
			c.tell(&request{kind: wire.Credit, id: r.id, target: r, count: credit})
		}
		return chunk, next.body.read(&chunk, c.session.terms().Limits.Body)
	}
}

// All yields the chunks until the last, with *StreamRestarted and *StreamBroken where they happen. Any other
// error ends it. Leaving the range earlier closes the stream.
func (s *ChunkStream[T]) All(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		defer s.Close()
		for {
			chunk, err := s.Next(ctx)
			if s.err == io.EOF || !yield(chunk, err) || s.err != nil || ctx.Err() != nil {
				return
			}
		}
	}
}

// Result decodes what the handler returned into the variable that target points to, once the stream has been
// read to its end.
func (s *ChunkStream[T]) Result(target any) error {
	switch s.err {
	case nil:
		return newError(ErrInvalid, s.ID(), "the stream has not been read to its end; the result comes behind the last chunk")
	case io.EOF:
		return s.task.request.read(target, s.task.client)
	}
	return s.err
}

// Close cancels the task if it has not ended, and frees the stream. Calling it again does nothing.
func (s *ChunkStream[T]) Close() {
	if s.err == nil {
		s.task.client.giveUp(s.task.request)
		s.err = s.task.client.failure(s.task.request, ErrClosed, "the stream was closed")
	}
}

// inflow is what has arrived of a stream and was not read.
type inflow struct {
	more chan struct{} // has one when something arrived

	mu      sync.Mutex
	waiting fifoOf[arrived]
	session int   // counts those in which the stream was asked for
	given   bool  // the program has had a chunk
	credit  int64 // chunks read in this session, and not told yet

	// The session's goroutine owns the rest.
	attempt, index int64 // of the last chunk
}

// arrived is a chunk, or what was wrong before it.
type arrived struct {
	body    body
	session int
	restart bool
	err     error
}

func (f *inflow) push(all ...arrived) {
	f.mu.Lock()
	for i := range all {
		all[i].session = f.session
	}
	f.waiting.push(all...)
	f.mu.Unlock()
	select {
	case f.more <- struct{}{}:
	default:
	}
}

func (f *inflow) pop() (next arrived, there bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.waiting.len() > 0 {
		next = f.waiting.pop()
		if next.restart && !f.given {
			continue // the program has seen nothing of the attempt before
		}
		f.given = f.given || next.err == nil
		return next, true
	}
	return next, false
}

// taken counts a chunk that the program has read, and says how much credit to give for it and those before:
// 0 until they are `enough`.
func (f *inflow) taken(next arrived, enough int64) (credit int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if next.session != f.session {
		return 0 // asked for again, the stream has its whole window
	}
	if f.credit++; f.credit < enough {
		return 0
	}
	credit, f.credit = f.credit, 0
	return credit
}

// again is for when the stream will be asked for in another session.
func (f *inflow) again() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.session++
	f.credit = 0
}

// take takes a chunk.
func (f *inflow) take(r *wire.Record) {
	a := r.Attrs
	if a == nil || a.Attempt < f.attempt {
		return // of a run that is over; a broker says both numbers
	}
	var all []arrived
	if a.Attempt > f.attempt {
		if f.attempt != 0 {
			all = append(all, arrived{restart: true, err: &StreamRestarted{int(a.Attempt)}})
		}
		f.attempt, f.index = a.Attempt, 0
	}
	if missing := a.Index - f.index - 1; missing > 0 {
		all = append(all, arrived{err: &StreamBroken{missing}})
	}
	f.index = a.Index
	chunk := arrived{body: received(r)}
	chunk.body.bytes = slices.Clone(r.Body) // else a slow reader would keep whole packets
	f.push(append(all, chunk)...)
}

// end looks at whether all chunks of the last run have come.
func (f *inflow) end(r *wire.Record) {
	a := r.Attrs
	if a == nil || !a.HasChunks {
		return
	}
	missing := a.Chunks
	if a.Attempt == f.attempt || a.Attempt == 0 {
		missing -= f.index
	}
	if missing > 0 {
		f.push(arrived{err: &StreamBroken{missing}})
	}
}
