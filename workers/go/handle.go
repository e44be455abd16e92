package tusk

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// maxStack bounds the stack that a failed result carries, in bytes.
const maxStack = 64 << 10

// handler is a function of the worker's user, by name.
type handler struct {
	name   string
	worker *Worker
	run    func(r *run, x *executor, a *arena) result
	runs   func(runs []*run, x *executor, a *arena) []result // of a batch handler
	batch  Batch
	took   atomic.Int64 // ns; a moving average
}

// Handle makes the worker run tasks of a type.
//
//	tusk.Handle(worker, "add", func(ctx context.Context, in struct{ A, B int }) (int, error) {
//		return in.A + in.B, nil
//	})
//
// The body must fit In exactly, or the task fails without another try. An error, or a panic, is a
// failed run; wrapped in NoRetry, the last; Defer is none. ctx is cancelled when the run is told to stop. Up to Slots handlers
// run at once, each in a goroutine.
func Handle[In, Out any](w *Worker, taskType string, f func(ctx context.Context, in In) (Out, error)) {
	w.register(w.types, &handler{name: taskType, run: runner(f)})
}

// HandleStage makes the worker run a stage handler of the pipeline: what f returns goes to the next
// stage, and an item for which it returns the error Drop ends here.
func HandleStage[In, Out any](w *Worker, name string, f func(ctx context.Context, in In) (Out, error)) {
	w.register(w.stages, &handler{name: name, run: runner(f)})
}

// Batch says which tasks or items come together: as soon as there are Size, when the first has waited for
// Wait, or at once when one of them ran before: its attempt is over 1. Size is from 1 to the worker's slots,
// for each of them takes one; Wait is 0 or more.
type Batch struct {
	Size int
	Wait time.Duration
}

// HandleBatch is Handle for many tasks at once. f returns one output for each task, in their order; if it
// returns an error all of them failed. A task whose body does not fit In fails alone and is not in the
// batch. ctx is cancelled only when the worker has to stop.
func HandleBatch[In, Out any](w *Worker, taskType string, batch Batch,
	f func(ctx context.Context, tasks []Item[In]) ([]Output[Out], error)) {
	w.register(w.types, &handler{name: taskType, batch: batch, runs: batchRunner(f)})
}

// Item is one task or item of a batch.
type Item[T any] struct {
	Value T
	Task  TaskInfo
}

// Output is what becomes of one of a batch: Value is the task's result, or goes to the next stage, unless
// Err says why it failed or, of an item, is Drop.
type Output[T any] struct {
	Value T
	Err   error
}

// HandleStageBatch is HandleStage for many items at once, as HandleBatch is Handle for many tasks.
func HandleStageBatch[In, Out any](w *Worker, name string, batch Batch,
	f func(ctx context.Context, items []Item[In]) ([]Output[Out], error)) {
	w.register(w.stages, &handler{name: name, batch: batch, runs: batchRunner(f)})
}

// arena is memory for small bodies: one allocation for many of them.
type arena struct{ free []byte }

const arenaSize = 8 << 10

func (a *arena) write(v any) ([]byte, error) {
	if cap(a.free)-len(a.free) < 256 {
		a.free = make([]byte, 0, arenaSize)
	}
	start := a.free[len(a.free):]
	b, err := value.Append(start, v)
	if err == nil && cap(b) == cap(start) { // it did not have to move
		a.free = a.free[:len(a.free)+len(b)]
	}
	return b[:len(b):len(b)], err
}

func runner[In, Out any](f func(context.Context, In) (Out, error)) func(*run, *executor, *arena) result {
	return func(r *run, x *executor, a *arena) (answer result) {
		defer recovered(&answer, r)
		var in In
		if err := r.read(&in, x); err != nil {
			return failed(r, err)
		}
		out, err := f(&r.ctx, in)
		return x.answer(r, a, out, err)
	}
}

// read decodes the body and lets go of the packet that it came in.
func (r *run) read(target any, x *executor) error {
	err := r.in.read(target, x.terms().Limits.Body)
	r.in.bytes = nil
	if err != nil {
		return NoRetry(err)
	}
	return nil
}

// answer turns what a handler returned into a result.
func (x *executor) answer(r *run, a *arena, out any, err error) result {
	switch {
	case err == nil:
	case errors.Is(err, Drop) && r.info.Item:
		return result{run: r, state: wire.Succeeded}
	case r.ctx.Err() != nil:
		return result{run: r, state: wire.Cancelled}
	default:
		return unsuccessful(r, err)
	}
	text, err := a.write(out)
	if err != nil {
		return failed(r, NoRetry(newError(ErrBody, TaskID{}, "what the handler returned cannot be written: %v", err)))
	}
	written, err := fitBody(text, x.terms())
	if err != nil {
		return failed(r, NoRetry(err))
	}
	return result{run: r, state: wire.Succeeded, body: written}
}

// unsuccessful is what a handler's error makes of its run.
func unsuccessful(r *run, err error) result {
	var later *deferral
	if errors.As(err, &later) {
		return result{run: r, state: deferred, after: millis(later.after)}
	}
	return failed(r, err)
}

func failed(r *run, err error) result {
	var last *noRetry
	return result{run: r, state: wire.Failed, noRetry: errors.As(err, &last),
		failure: &failure{Type: typeOf(err), Message: valid(err.Error()), Language: "go"}}
}

// typeOf names the type that the error was given, else its Go type; wrappers that only add text are looked
// through.
func typeOf(err error) string {
	var typed *typedError
	if errors.As(err, &typed) {
		return valid(typed.name)
	}
	for {
		t := reflect.TypeOf(err).String()
		inner := errors.Unwrap(err)
		if inner == nil || t != "*tusk.noRetry" && t != "*fmt.wrapError" {
			return t
		}
		err = inner
	}
}

// recovered makes a panic a failed result with its stack. A handler that ends its goroutine with
// runtime.Goexit fails too: then answer has no state when this runs.
func recovered(answer *result, r *run) {
	cause := recover()
	if cause == nil && answer.state != 0 {
		return
	}
	f := &failure{Type: "panic", Message: valid(fmt.Sprint(cause)), Language: "go",
		Stack: valid(string(debug.Stack()))}
	if cause == nil {
		f.Type, f.Message = "Goexit", "the handler ended its goroutine"
	}
	*answer = result{run: r, state: wire.Failed, failure: f}
}

// valid makes a text one that the wire takes: UTF-8, at most 64 KiB.
func valid(text string) string {
	if len(text) > maxStack {
		text = text[:maxStack]
		for len(text) > 0 && !utf8.RuneStart(text[len(text)-1]) {
			text = text[:len(text)-1]
		}
		text = text[:max(0, len(text)-1)]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

func batchRunner[In, Out any](f func(context.Context, []Item[In]) ([]Output[Out], error)) func([]*run, *executor, *arena) []result {
	return func(runs []*run, x *executor, a *arena) []result {
		answers := make([]result, 0, len(runs))
		items := make([]Item[In], 0, len(runs))
		fit := runs[:0]
		for _, r := range runs {
			item := Item[In]{Task: r.info}
			if err := r.read(&item.Value, x); err != nil {
				answers = append(answers, failed(r, err))
				continue
			}
			items, fit = append(items, item), append(fit, r)
		}
		if len(fit) == 0 {
			return answers
		}
		outputs, whole := callBatch(f, x, items, fit[0])
		for i, r := range fit {
			if whole.state != wire.Succeeded {
				whole.run = r
				answers = append(answers, whole)
				continue
			}
			answers = append(answers, writeOutput(r, x, a, outputs[i]))
		}
		return answers
	}
}

// writeOutput answers one item of a batch; a panic while its value is written fails it alone.
func writeOutput[Out any](r *run, x *executor, a *arena, output Output[Out]) (answer result) {
	defer recovered(&answer, r)
	return x.answer(r, a, output.Value, output.Err)
}

// callBatch returns one output for each item, or a whole that failed or was deferred.
func callBatch[In, Out any](f func(context.Context, []Item[In]) ([]Output[Out], error), x *executor,
	items []Item[In], first *run) (outputs []Output[Out], whole result) {
	defer recovered(&whole, first)
	outputs, err := f(x.batchContext, items)
	if err == nil && len(outputs) != len(items) {
		err = NoRetry(fmt.Errorf("the batch handler returned %d outputs for %d items", len(outputs), len(items)))
	}
	if err != nil {
		return nil, unsuccessful(first, err)
	}
	return outputs, result{state: wire.Succeeded}
}
