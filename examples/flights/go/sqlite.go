package main

import (
	"context"
	"database/sql"
	"strings"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
)

const sqliteTable = `
CREATE TABLE IF NOT EXISTS flights (
  row_number INTEGER PRIMARY KEY,
  minute INTEGER NOT NULL, delay INTEGER NOT NULL, distance INTEGER NOT NULL,
  origin TEXT NOT NULL, destination TEXT NOT NULL, hour INTEGER NOT NULL, route TEXT NOT NULL
) STRICT`

// rowsAtOnce go into one statement: each costs half of what it would alone.
const rowsAtOnce = 100

func openSQLite(ctx context.Context, path string) (*store, error) {
	// A commit is on the disk when it returns.
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL&_busy_timeout=10000")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // SQLite has one writer
	if _, err := db.ExecContext(ctx, sqliteTable); err != nil {
		return nil, err
	}
	one, err := db.PrepareContext(ctx, insertStatement(1))
	if err != nil {
		return nil, err
	}
	many, err := db.PrepareContext(ctx, insertStatement(rowsAtOnce))
	if err != nil {
		return nil, err
	}
	insert := func(ctx context.Context, rows [][]any) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() // does nothing after Commit
		if err := insertRows(ctx, tx.Stmt(many), tx.Stmt(one), rows); err != nil {
			return err
		}
		return tx.Commit()
	}
	return &store{db, insert}, nil
}

func insertStatement(rows int) string {
	row := "(?" + strings.Repeat(",?", len(columns)-1) + ")"
	return "INSERT INTO flights VALUES " + row + strings.Repeat(","+row, rows-1) + " ON CONFLICT DO NOTHING"
}

func insertRows(ctx context.Context, many, one *sql.Stmt, rows [][]any) error {
	values := make([]any, 0, rowsAtOnce*len(columns))
	for ; len(rows) >= rowsAtOnce; rows = rows[rowsAtOnce:] {
		values = values[:0]
		for _, row := range rows[:rowsAtOnce] {
			values = append(values, row...)
		}
		if _, err := many.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if _, err := one.ExecContext(ctx, row...); err != nil {
			return err
		}
	}
	return nil
}
