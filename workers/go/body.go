package tusk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/tuskd/tuskd/workers/go/internal/lz4frame"
	"github.com/tuskd/tuskd/workers/go/internal/value"
	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// body is a value on its way: written, perhaps compressed.
type body struct {
	bytes      []byte // nil: no body
	codec      int64
	compressed bool
}

// writeBody turns a value into a body that the broker's terms allow.
func writeBody(v any, w *welcome) (body, error) {
	text, err := value.Append(nil, v)
	if err != nil {
		return body{}, newError(ErrBody, TaskID{}, "the value cannot be written: %v", err)
	}
	return fitBody(text, w)
}

// fitBody compresses what is worth it and refuses what is over the limit.
func fitBody(text []byte, w *welcome) (body, error) {
	return writeFor(text, wire.Result, "", w)
}

func checkSize(text []byte, w *welcome) error {
	size, limit := int64(len(text)), w.Limits.Body
	if size <= limit {
		return nil
	}
	err := newError(ErrTooLarge, TaskID{}, "the body has %d bytes, the limit `body` is %d", size, limit)
	err.Details = map[string]any{"limit": "body", "value": limit}
	return err
}

// received is a body as a record brought it.
func received(r *wire.Record) body {
	b := body{bytes: r.Body}
	if r.Attrs != nil {
		b.codec, b.compressed = r.Attrs.Codec, r.Attrs.Compression == 1
	}
	return b
}

// unreadable says why this SDK cannot carry out a record's attributes, or nil.
func unreadable(r *wire.Record) *Error {
	a := r.Attrs
	switch {
	case a == nil:
		return nil
	case a.Unsupported != 0:
		return newError(ErrUnsupported, TaskID{}, "unknown attribute %d", a.Unsupported)
	case a.Invalid != 0:
		return newError(ErrInvalid, TaskID{}, "attribute %d has a value of another type", a.Invalid)
	case a.Codec > wire.CodecBytes:
		return newError(ErrUnsupported, TaskID{}, "unknown codec %d", a.Codec)
	case a.Compression > 1:
		return newError(ErrUnsupported, TaskID{}, "unknown compression %d", a.Compression)
	}
	return nil
}

var nilBody = []byte{0xc0}

// read decodes the body into the variable that target points to; no body is null. limit bounds what
// is decompressed, in bytes.
func (b body) read(target any, limit int64) error {
	text, err := b.msgpack(limit)
	if err == nil {
		err = value.Decode(text, target)
	}
	if err != nil {
		return newError(ErrBody, TaskID{}, "the body cannot be read: %v", err)
	}
	return nil
}

func (b body) msgpack(limit int64) (text []byte, err error) {
	text = b.bytes
	if text == nil {
		return nilBody, nil
	}
	if b.compressed {
		if text, err = lz4frame.Decompress(text, limit); err != nil {
			return nil, err
		}
	}
	switch b.codec {
	case wire.CodecJSON:
		return fromJSON(text)
	case wire.CodecBytes:
		return wire.AppendBytes(nil, text), nil
	}
	return text, nil
}

// fromJSON writes a JSON text as msgpack, so that it is read by the same rules: whole numbers are
// integers, the same key twice is an error.
func fromJSON(text []byte) ([]byte, error) {
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber()
	out, err := appendJSON(nil, in, 0)
	if err != nil {
		return nil, fmt.Errorf("JSON: %w", err)
	}
	if _, err := in.Token(); err != io.EOF {
		return nil, fmt.Errorf("JSON: bytes behind the value")
	}
	return out, nil
}

func appendJSON(b []byte, in *json.Decoder, depth int) ([]byte, error) {
	token, err := in.Token()
	if err != nil {
		return b, err
	}
	switch token := token.(type) {
	case json.Delim:
		if depth >= value.MaxDepth {
			return b, fmt.Errorf("nests more than %d deep", value.MaxDepth)
		}
		return appendJSONMany(b, in, token, depth+1)
	case json.Number:
		if n, err := strconv.ParseInt(token.String(), 10, 64); err == nil && token != "-0" {
			return wire.AppendInt(b, n), nil
		}
		if n, err := strconv.ParseUint(token.String(), 10, 64); err == nil {
			return wire.AppendUint(b, n), nil
		}
		f, err := token.Float64()
		return wire.AppendFloat(b, f), err
	default:
		return value.Append(b, token)
	}
}

func appendJSONMany(b []byte, in *json.Decoder, open json.Delim, depth int) (_ []byte, err error) {
	var inner []byte
	n := 0
	for ; in.More(); n++ {
		if open == '{' {
			key, err := in.Token()
			if err != nil {
				return b, err
			}
			inner = wire.AppendText(inner, key.(string))
		}
		if inner, err = appendJSON(inner, in, depth); err != nil {
			return b, err
		}
	}
	if _, err := in.Token(); err != nil {
		return b, err
	}
	if open == '{' {
		b = wire.AppendMap(b, n)
	} else {
		b = wire.AppendList(b, n)
	}
	return slices.Concat(b, inner), nil
}
