// Storage, in Go: inserts flights by their id, answers after the commit, and computes the aggregates
// from what was stored.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"time"

	tusk "github.com/tuskd/tuskd/workers/go"
)

// rowNumber is the last 48 bits of an id; see ingest.cc.
func rowNumber(id tusk.TaskID) int64 {
	return int64(binary.BigEndian.Uint64(id[8:]) & (1<<48 - 1))
}

// insertItems stores one batch. The broker hears of it when all of it is committed: an item whose
// worker dies before comes again, and is inserted once, for its number is the primary key.
func insertItems(ctx context.Context, s *store, items []tusk.Item[[]any]) ([]tusk.Output[any], error) {
	outputs := make([]tusk.Output[any], len(items))
	rows := make([][]any, 0, len(items))
	for i, item := range items {
		if len(item.Value)+1 != len(columns) {
			outputs[i].Err = tusk.NoRetry(fmt.Errorf("a flight of %d values", len(item.Value)))
			continue
		}
		rows = append(rows, append([]any{rowNumber(item.Task.ID)}, item.Value...))
	}
	return outputs, s.insert(ctx, rows)
}

func run(ctx context.Context) error {
	s, err := open(ctx, os.Getenv("FLIGHTS_DATABASE"))
	if err != nil {
		return err
	}
	defer s.Close()
	worker := tusk.NewWorker(tusk.WorkerOptions{Slots: 2000})
	batch := tusk.Batch{Size: 1000, Wait: 2 * time.Millisecond}
	tusk.HandleStageBatch(worker, "database_operations", batch,
		func(ctx context.Context, items []tusk.Item[[]any]) ([]tusk.Output[any], error) {
			return insertItems(ctx, s, items)
		})
	tusk.Handle(worker, "flights.aggregate", func(ctx context.Context, _ any) (map[string]Group, error) {
		return aggregate(ctx, s.DB)
	})
	return worker.Run(ctx)
}

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
