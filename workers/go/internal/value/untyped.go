package value

import (
	"math"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// untyped reads any value as the Go column of BODY.md. The bytes have been checked.
func untyped(r *wire.Reader) any {
	switch r.Peek() {
	case wire.Bool:
		return r.Bool()
	case wire.Int:
		bits, negative := r.Integer()
		if !negative && bits > math.MaxInt64 {
			return bits
		}
		return int64(bits)
	case wire.Float:
		return r.Float()
	case wire.Text:
		return string(r.RawText())
	case wire.Bytes:
		return append([]byte{}, r.Bytes()...)
	case wire.List:
		list := make([]any, r.List())
		for i := range list {
			list[i] = untyped(r)
		}
		return list
	case wire.Map:
		n := r.Map()
		pairs := make(map[string]any, n)
		for range n {
			key := string(r.RawText())
			pairs[key] = untyped(r)
		}
		return pairs
	case wire.Ext:
		instant, _ := timestamp(r.Ext())
		return instant
	default:
		r.Nil()
		return nil
	}
}
