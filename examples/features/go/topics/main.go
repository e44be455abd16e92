// Command topics shows patterns of topics, the last event that a topic keeps, and what becomes of a slow subscriber.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	tusk "github.com/tuskd/tuskd/workers/go"
)

func main() {
	ctx := context.Background()
	client, err := tusk.NewClient(tusk.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	publish := func(topic string, event any) {
		if err := client.Publish(ctx, topic, event); err != nil {
			log.Fatal(err)
		}
	}
	subscribe := func(topic string, options ...tusk.SubscribeOption) *tusk.Subscription {
		events, err := client.Subscribe(ctx, topic, options...)
		if err != nil {
			log.Fatal(err)
		}
		return events
	}
	// next gives the next event and what was published.
	next := func(events *tusk.Subscription) (*tusk.Event, any, error) {
		event, err := events.Next(ctx)
		if err != nil {
			return nil, nil, err
		}
		value, err := event.Value()
		return event, value, err
	}

	publish("state-go.door", "shut") // the config keeps its last event
	states := subscribe("state-go.*")
	show := func() {
		event, state, err := next(states)
		if err != nil {
			log.Fatal(err)
		}
		retained := ""
		if event.Retained {
			retained = ", retained"
		}
		fmt.Printf("%s: %v%s\n", strings.TrimPrefix(event.Topic, "state-go."), state, retained)
	}
	show()
	publish("state-go.window", "open")
	show()
	states.Close()

	// late is a subscription whose reader was busy elsewhere while five events came.
	late := func(options ...tusk.SubscribeOption) *tusk.Subscription {
		events := subscribe("state-go.window", append(options, tusk.WithBuffer(2))...)
		for n := 1; n <= 5; n++ {
			publish("state-go.window", n)
		}
		return events
	}
	events := late()
	event, n, err := next(events)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v, missed %d\n", n, event.Missed)
	events.Close()

	events = late(tusk.WithSlow(tusk.SlowDisconnect))
	for {
		_, n, err := next(events)
		if errors.Is(err, tusk.ErrSlowSubscriber) {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(n)
	}
	fmt.Println("too slow")
}
