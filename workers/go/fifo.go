package tusk

// fifo is a queue of requests.
type fifo = fifoOf[*request]

// fifoOf is a queue that keeps its memory.
type fifoOf[T any] struct {
	items []T
	head  int
}

func (q *fifoOf[T]) len() int { return len(q.items) - q.head }

func (q *fifoOf[T]) push(items ...T) {
	if q.head > 64 && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, items...)
}

func (q *fifoOf[T]) pop() T {
	var none T
	item := q.items[q.head]
	q.items[q.head] = none
	if q.head++; q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return item
}

// first is the oldest; the queue is not empty.
func (q *fifoOf[T]) first() T { return q.items[q.head] }

// all returns what is queued, oldest first, and leaves the queue empty.
func (q *fifoOf[T]) all() []T {
	items := append([]T(nil), q.items[q.head:]...)
	clear(q.items)
	q.items, q.head = q.items[:0], 0
	return items
}
