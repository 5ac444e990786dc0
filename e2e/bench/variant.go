package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"keel/envoy"
)

// variant is one way of putting something, or nothing, between client and provider.
type variant struct {
	name, about string
	floor       string // the variant that does nothing in the same place; "" where there is none
	start       func(context.Context, *stage, string) (*target, error)
}

// variants are all that there are. Another mode of Keel is one more line.
var variants = []variant{
	{"direct", "the provider, with nothing between", "", direct},
	{"envoy", "Envoy alone", "", gateway(envoy.ModeFull, nobody, withoutProcessor, withoutLog)},
	{"envoy-log", "Envoy alone, and its access log service", "", gateway(envoy.ModeFull, nothing, withoutProcessor)},
	{"envoy-usage-log", "the same, with Envoy's own filters that read usage, json_to_metadata and sse_to_metadata, and rules for what this provider tells", "", gateway(envoy.ModeFast, nothing, withoutProcessor, nativeUsage)},
	{"envoy-read-log", "the same, with the filter of Lua that reads usage in Keel's mode fast instead", "", gateway(envoy.ModeFast, nothing, withoutProcessor)},
	{"nothing", "an external processor that does nothing, in Keel's place in mode full", "", gateway(envoy.ModeFull, nothing, withoutLog)},
	{"nothing-log", "the same, and the access log service: Keel's configuration of mode full with the processor swapped", "", gateway(envoy.ModeFull, nothing)},
	{"replies-log", "the same, but for replies as Keel gives them, made beforehand: headers, metadata, an answer that waits for its cost", "nothing-log", gateway(envoy.ModeFull, replies)},
	{"nothing-request", "an external processor that does nothing and sees the request alone", "", gateway(envoy.ModeFull, nothing, withoutLog, requestOnly)},
	{"nothing-request-log", "the same, and the access log service", "", gateway(envoy.ModeFull, nothing, requestOnly)},
	{"nothing-attempts-log", "Keel's configuration of mode attempts with the processor swapped", "", gateway(envoy.ModeAttempts, nothing)},
	{"nothing-fast-log", "Keel's configuration of mode fast with the processor swapped", "", gateway(envoy.ModeFast, nothing)},
	{"full", "Keel, mode full", "nothing-log", gateway(envoy.ModeFull, keel(sixBudgets))},
	{"attempts", "Keel, mode attempts", "nothing-attempts-log", gateway(envoy.ModeAttempts, keel(sixBudgets))},
	{"light", "Keel, mode light: requests alone, and Envoy reads the usage", "nothing-request-log", gateway(envoy.ModeLight, keel(sixBudgets))},
	{"authz", "Keel, mode authz: one round trip of ext_authz, and Envoy reads the usage", "nothing-fast-log", gateway(envoy.ModeAuthz, keel(sixBudgets))},
	{"fast", "Keel, mode fast: the same, and one filter more for calls whose body has to change", "nothing-fast-log", gateway(envoy.ModeFast, keel(sixBudgets))},
	{"full-route", "Keel, mode full, with a route of five targets", "nothing-log", gateway(envoy.ModeFull, keel(withRoute))},
	{"full-1-budget", "Keel, mode full, one budget, which matches, and no policy", "", gateway(envoy.ModeFull, keel(oneBudget))},
	{"full-100-budgets", "Keel, mode full, 100 budgets, of which one matches, and no policy", "", gateway(envoy.ModeFull, keelWith(oneBudget, 99))},
	{"full-100000-budgets", "Keel, mode full, 100,000 budgets, of which one matches, and no policy", "", gateway(envoy.ModeFull, keelWith(oneBudget, 99_999))},
	{"litellm", "LiteLLM's proxy " + liteLLMVersion + " with budgets, without a database, one worker", "", liteLLM},
	{"portkey", "Portkey's gateway " + portkeyVersion + ", which has no budgets", "", portkey},
}

func variantOf(name string) *variant {
	for i := range variants {
		if variants[i].name == name {
			return &variants[i]
		}
	}
	return nil
}

// inOrder are names as the list of variants has them, which tables are read in.
func inOrder(names []string) []string {
	return slices.DeleteFunc(variantNames(), func(name string) bool { return !slices.Contains(names, name) })
}

func variantNames() []string {
	var names []string
	for _, v := range variants {
		names = append(names, v.name)
	}
	return names
}

func direct(_ context.Context, s *stage, _ string) (*target, error) {
	return &target{address: s.provider.address}, nil
}

// A starter starts the processor of a variant and says what is known of it. The
// child is nil where there is none.
type starter func(context.Context, *stage, string, *target) (*processorChild, error)

func nobody(context.Context, *stage, string, *target) (*processorChild, error) { return nil, nil }

func nothing(ctx context.Context, s *stage, name string, _ *target) (*processorChild, error) {
	return s.startNothing(ctx, name)
}

// replies has Envoy do what Keel has it do, of a processor that has its replies ready.
func replies(ctx context.Context, s *stage, name string, _ *target) (*processorChild, error) {
	return s.startNothing(ctx, name, "replies")
}

// keel is "keel serve" with documents.
func keel(documents func() string) starter { return keelWith(documents, 0) }

// keelWith has so many budgets besides.
func keelWith(documents func() string, more int) starter {
	return func(ctx context.Context, s *stage, name string, t *target) (*processorChild, error) {
		child, err := s.startKeel(ctx, name, documents(), more)
		if err != nil {
			return nil, err
		}
		t.admin = child.admin
		t.database = func() (stat, error) { return tree(s.postgres.PID()) }
		t.waited = func(ctx context.Context) (int64, error) {
			page, err := get(ctx, "http://"+child.admin+"/metrics")
			n, _ := sumOf(page, permitsWaited)
			return int64(n), err
		}
		t.settled = func(ctx context.Context) error { return settled(ctx, child.admin) }
		return child, nil
	}
}

// gateway is an Envoy with a processor.
func gateway(mode envoy.Mode, start starter, amend ...amendment) func(context.Context, *stage, string) (*target, error) {
	return func(ctx context.Context, s *stage, name string) (*target, error) {
		t := new(target)
		processor, err := start(ctx, s, name, t)
		if err != nil {
			return nil, err
		}
		address := "127.0.0.1:9" // where nobody is asked, the generator still wants an address
		if processor != nil {
			address = processor.grpc
			t.processor = func() (stat, error) { return readStat(processor.PID()) }
		}
		e, err := s.startEnvoy(ctx, name, mode, address, amend...)
		if err != nil {
			if processor != nil {
				processor.Kill()
			}
			return nil, err
		}
		t.address = e.Listen()
		t.gateway = func() (stat, error) { return readStat(e.PID()) }
		t.messages = func(ctx context.Context) (int64, error) { return messages(ctx, e.Admin()) }
		t.stop = func() error {
			err := e.Stop()
			if processor != nil {
				err = errors.Join(err, processor.Stop())
			}
			return err
		}
		return t, nil
	}
}

var messagesSent = regexp.MustCompile(`ext_proc\.[a-z_.]*stream_msgs_sent$`)

// messages is how many an Envoy has sent to its external processors.
func messages(ctx context.Context, admin string) (int64, error) {
	page, err := get(ctx, "http://"+admin+"/stats?filter=stream_msgs_sent")
	if err != nil {
		return 0, err
	}
	sum, _ := sumOf(page, messagesSent)
	return int64(sum), nil
}

var permitsWaited = regexp.MustCompile(`^keel_permits_waited_total$`)

var waitingBytes = regexp.MustCompile(`^keel_journal_waiting_bytes$`)

// settleTime bounds how long a measurement waits for Postgres to be told of its calls.
const settleTime = 60 * time.Second

// settled returns when all that a replica has in its journal is in Postgres.
func settled(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleTime, fmt.Errorf("the calls are not settled after %v", settleTime))
	defer cancel()
	for {
		page, err := get(ctx, "http://"+admin+"/metrics")
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if waiting, found := sumOf(page, waitingBytes); !found {
			return errors.New("no keel_journal_waiting_bytes among the metrics of Keel")
		} else if waiting == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
