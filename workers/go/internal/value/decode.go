package value

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"sync"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/tuskd/tuskd/workers/go/internal/wire"
)

// decoder reads one value into v, which can be set. The bytes have been checked, so that only the
// value's type and range can be wrong.
type decoder func(r *wire.Reader, v reflect.Value) error

var (
	decoders sync.Map // reflect.Type -> decoder

	customDecoder   = reflect.TypeFor[msgpack.CustomDecoder]()
	unmarshaler     = reflect.TypeFor[msgpack.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// Decode reads a body of exactly one value into the variable that target points to. On an error the
// variable may hold a part of the value.
func Decode(body []byte, target any) error {
	if err := Check(body); err != nil {
		return err
	}
	r := wire.NewReader(body)
	switch target := target.(type) {
	case *any:
		*target = untyped(&r)
		return nil
	case *string:
		if r.Peek() == wire.Text {
			*target = string(r.RawText())
			return nil
		}
	case *float64:
		if r.Peek() == wire.Float {
			*target = r.Float()
			return nil
		}
	}
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("cannot decode into %T: not a pointer", target)
	}
	return decoderOf(v.Type().Elem())(&r, v.Elem())
}

func decoderOf(t reflect.Type) decoder {
	if known, ok := decoders.Load(t); ok {
		return known.(decoder)
	}
	var ready sync.WaitGroup
	var made decoder
	ready.Add(1)
	known, there := decoders.LoadOrStore(t, decoder(func(r *wire.Reader, v reflect.Value) error {
		ready.Wait()
		return made(r, v)
	}))
	if there {
		return known.(decoder)
	}
	made = makeDecoder(t)
	ready.Done()
	decoders.Store(t, made)
	return made
}

func makeDecoder(t reflect.Type) decoder {
	pointer := reflect.PointerTo(t)
	switch {
	case t == timeType:
		return decodeTime
	case pointer.Implements(customDecoder) || pointer.Implements(unmarshaler):
		return decodeOwn
	case t.Kind() != reflect.Pointer && pointer.Implements(textUnmarshaler):
		return decodeTextUnmarshaler
	}
	switch t.Kind() {
	case reflect.Bool:
		return func(r *wire.Reader, v reflect.Value) error {
			if r.Peek() != wire.Bool {
				return misfit(r, v)
			}
			v.SetBool(r.Bool())
			return nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return decodeInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return decodeUint
	case reflect.Float32, reflect.Float64:
		return decodeFloat
	case reflect.String:
		return func(r *wire.Reader, v reflect.Value) error {
			if r.Peek() != wire.Text {
				return misfit(r, v)
			}
			v.SetString(string(r.RawText()))
			return nil
		}
	case reflect.Interface:
		return decodeInterface
	case reflect.Pointer:
		return pointerDecoder(t)
	case reflect.Slice:
		return sliceDecoder(t)
	case reflect.Array:
		return arrayDecoder(t)
	case reflect.Map:
		return mapDecoder(t)
	case reflect.Struct:
		return structDecoder(t)
	}
	return refuseDecode(fmt.Errorf("%v cannot be a value of a body", t))
}

func refuseDecode(err error) decoder {
	return func(*wire.Reader, reflect.Value) error { return err }
}

var typeNames = map[wire.Type]string{
	wire.Nil: "null", wire.Bool: "a boolean", wire.Int: "an integer", wire.Float: "a float",
	wire.Text: "text", wire.Bytes: "bytes", wire.List: "a list", wire.Map: "a map", wire.Ext: "a timestamp",
}

func misfit(r *wire.Reader, v reflect.Value) error {
	return fmt.Errorf("%s does not fit a Go %v", typeNames[r.Peek()], v.Type())
}

func decodeInt(r *wire.Reader, v reflect.Value) error {
	if r.Peek() != wire.Int {
		return misfit(r, v)
	}
	bits, negative := r.Integer()
	n := int64(bits)
	if !negative && n < 0 || v.OverflowInt(n) {
		return outOfRange(bits, negative, v)
	}
	v.SetInt(n)
	return nil
}

func decodeUint(r *wire.Reader, v reflect.Value) error {
	if r.Peek() != wire.Int {
		return misfit(r, v)
	}
	bits, negative := r.Integer()
	if negative || v.OverflowUint(bits) {
		return outOfRange(bits, negative, v)
	}
	v.SetUint(bits)
	return nil
}

func outOfRange(bits uint64, negative bool, v reflect.Value) error {
	if negative {
		return fmt.Errorf("%d does not fit a Go %v", int64(bits), v.Type())
	}
	return fmt.Errorf("%d does not fit a Go %v", bits, v.Type())
}

// decodeFloat takes integers too, where the float is exactly equal: JavaScript writes 1.0 as 1.
func decodeFloat(r *wire.Reader, v reflect.Value) error {
	var f float64
	switch r.Peek() {
	case wire.Float:
		f = r.Float()
	case wire.Int:
		bits, negative := r.Integer()
		exact := false
		if negative {
			f = float64(int64(bits))
			exact = int64(f) == int64(bits)
		} else {
			f = float64(bits)
			// 2^64 itself is out of uint64's range, and the conversion back undefined.
			exact = f < 1<<64 && uint64(f) == bits
		}
		if !exact {
			return outOfRange(bits, negative, v)
		}
	default:
		return misfit(r, v)
	}
	if v.Kind() == reflect.Float32 && float64(float32(f)) != f && !math.IsNaN(f) {
		return fmt.Errorf("%v does not fit a Go %v exactly", f, v.Type())
	}
	v.SetFloat(f)
	return nil
}

func decodeTime(r *wire.Reader, v reflect.Value) error {
	if r.Peek() != wire.Ext {
		return misfit(r, v)
	}
	instant, err := timestamp(r.Ext())
	if err == nil {
		*v.Addr().Interface().(*time.Time) = instant
	}
	return err
}

// span reads over the next value and returns its bytes.
func span(r *wire.Reader) ([]byte, error) {
	c := checker{Reader: *r}
	at := r.At()
	if err := c.value(0); err != nil {
		return nil, err
	}
	*r = c.Reader
	return r.Since(at), nil
}

func decodeOwn(r *wire.Reader, v reflect.Value) error {
	raw, err := span(r)
	if err == nil {
		// A copy, for a type such as msgpack.RawMessage keeps what it is given.
		err = msgpack.Unmarshal(append([]byte{}, raw...), v.Addr().Interface())
	}
	return err
}

func decodeTextUnmarshaler(r *wire.Reader, v reflect.Value) error {
	if r.Peek() != wire.Text {
		return misfit(r, v)
	}
	return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(r.RawText())
}

func decodeInterface(r *wire.Reader, v reflect.Value) error {
	if v.NumMethod() != 0 {
		return fmt.Errorf("cannot decode into the interface %v", v.Type())
	}
	if found := untyped(r); found == nil {
		v.SetZero()
	} else {
		v.Set(reflect.ValueOf(found))
	}
	return nil
}

func pointerDecoder(t reflect.Type) decoder {
	element := decoderOf(t.Elem())
	return func(r *wire.Reader, v reflect.Value) error {
		if r.Peek() == wire.Nil {
			r.Nil()
			v.SetZero()
			return nil
		}
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		return element(r, v.Elem())
	}
}

func sliceDecoder(t reflect.Type) decoder {
	if t.Elem().Kind() == reflect.Uint8 && !special(t.Elem()) {
		return func(r *wire.Reader, v reflect.Value) error {
			switch r.Peek() {
			case wire.Nil:
				r.Nil()
				v.SetZero()
			case wire.Bytes:
				v.SetBytes(append([]byte{}, r.Bytes()...))
			default:
				return misfit(r, v)
			}
			return nil
		}
	}
	element := decoderOf(t.Elem())
	return func(r *wire.Reader, v reflect.Value) error {
		switch r.Peek() {
		case wire.Nil:
			r.Nil()
			v.SetZero()
			return nil
		case wire.List:
		default:
			return misfit(r, v)
		}
		n := r.List()
		// A byte of the body may become a large element: memory grows with what was read.
		v.Set(reflect.MakeSlice(t, 0, min(n, 4096)))
		for i := range n {
			v.Grow(1)
			v.SetLen(i + 1)
			if err := element(r, v.Index(i)); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
		return nil
	}
}

func arrayDecoder(t reflect.Type) decoder {
	bytes := t.Elem().Kind() == reflect.Uint8 && !special(t.Elem())
	element := decoderOf(t.Elem())
	return func(r *wire.Reader, v reflect.Value) error {
		if bytes && r.Peek() == wire.Bytes {
			data := r.Bytes()
			if len(data) != v.Len() {
				return fmt.Errorf("%d bytes do not fit a Go %v", len(data), t)
			}
			copy(v.Slice(0, v.Len()).Bytes(), data)
			return nil
		}
		if bytes || r.Peek() != wire.List {
			return misfit(r, v)
		}
		if n := r.List(); n != v.Len() {
			return fmt.Errorf("a list of %d does not fit a Go %v", n, t)
		}
		for i := range v.Len() {
			if err := element(r, v.Index(i)); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
		return nil
	}
}

func mapDecoder(t reflect.Type) decoder {
	if t.Key().Kind() != reflect.String || special(t.Key()) {
		return refuseDecode(fmt.Errorf("%v: keys of maps are text", t))
	}
	element := decoderOf(t.Elem())
	return func(r *wire.Reader, v reflect.Value) error {
		switch r.Peek() {
		case wire.Nil:
			r.Nil()
			v.SetZero()
			return nil
		case wire.Map:
		default:
			return misfit(r, v)
		}
		n := r.Map()
		v.Set(reflect.MakeMapWithSize(t, min(n, 4096)))
		key, value := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		for range n {
			key.SetString(string(r.RawText()))
			value.SetZero()
			if err := element(r, value); err != nil {
				return fmt.Errorf("[%q]: %w", key.String(), err)
			}
			v.SetMapIndex(key, value)
		}
		return nil
	}
}

// structDecoder skips keys that the struct does not have and leaves fields alone whose keys are not
// there, as encoding/json does.
func structDecoder(t reflect.Type) decoder {
	fields, err := fieldsOf(t)
	if err != nil {
		return refuseDecode(err)
	}
	byKey := make(map[string]*field, len(fields))
	for i := range fields {
		fields[i].decode = decoderOf(t.FieldByIndex(fields[i].index).Type)
		byKey[fields[i].key] = &fields[i]
	}
	return func(r *wire.Reader, v reflect.Value) error {
		if len(fields) == 0 && r.Peek() == wire.Nil {
			r.Nil() // struct{} says that there is nothing
			return nil
		}
		if r.Peek() != wire.Map {
			return misfit(r, v)
		}
		for range r.Map() {
			f := byKey[string(r.RawText())]
			if f == nil {
				if _, err := span(r); err != nil {
					return err
				}
				continue
			}
			inner, err := f.into(v)
			if err == nil {
				err = f.decode(r, inner)
			}
			if err != nil {
				return fmt.Errorf("%v.%s: %w", t, f.key, err)
			}
		}
		return nil
	}
}

// into returns the field to be set; embedded pointers on the way are made.
func (f *field) into(v reflect.Value) (reflect.Value, error) {
	for i, at := range f.index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				if !v.CanSet() {
					return v, fmt.Errorf("the embedded %v is not exported", v.Type())
				}
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(at)
	}
	return v, nil
}
