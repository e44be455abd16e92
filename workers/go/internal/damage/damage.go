// Package damage makes input for tests of decoders: the bytes of the shared vectors, broken the way that
// wires and attackers break them, and bytes at random. A seed says which.
package damage

import (
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
)

// Vectors reads the hexadecimal bytes under one key of a file of vectors; of entries without the key, none.
func Vectors(path, key string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var entries []map[string]any
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, err
	}
	var all [][]byte
	for _, entry := range entries {
		digits, ok := entry[key].(string)
		if !ok {
			continue
		}
		data, err := hex.DecodeString(digits)
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// lies are heads of msgpack that announce more than there is.
var lies = []string{"\xdd\xff\xff\xff\xff", "\xdd\x05\xff\xff\xff", "\xdf\x7f\xff\xff\xff", "\xc6\xff\xff\xff\xf0", "\xdb\xff\xff\xff\xff",
	"\xdc\xff\xff", "\xc9\xff\xff\xff\xff\xff", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff"}

// Of returns one of the vectors with one to four faults, or noise. The vectors stay as they are.
func Of(random *rand.Rand, vectors [][]byte) []byte {
	if random.IntN(8) == 0 {
		noise := make([]byte, random.IntN(64))
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		return noise
	}
	data := append([]byte(nil), vectors[random.IntN(len(vectors))]...)
	for n := 1 + random.IntN(4); n > 0; n-- {
		data = once(random, data, vectors)
	}
	return data
}

func once(random *rand.Rand, data []byte, vectors [][]byte) []byte {
	if len(data) == 0 {
		return []byte{byte(random.Uint32())}
	}
	at := random.IntN(len(data))
	insert := func(part []byte) []byte {
		return append(append(append([]byte(nil), data[:at]...), part...), data[at:]...)
	}
	switch random.IntN(6) {
	case 0:
		data[at] ^= 1 << random.IntN(8)
		return data
	case 1:
		data[at] = byte(random.Uint32())
		return data
	case 2:
		return data[:at]
	case 3:
		return insert([]byte{byte(random.Uint32())})
	case 4:
		lie := lies[random.IntN(len(lies))]
		if random.IntN(2) == 0 {
			return insert([]byte(lie))
		}
		copy(data[at:], lie)
		return data
	default:
		other := vectors[random.IntN(len(vectors))]
		return append(data[:at:at], other[random.IntN(len(other)+1):]...)
	}
}
