// What Go's channels, select, locks, contexts and timers cost: the namesakes of the functions in ../sync_bench.cc.
//
//	GOMAXPROCS=1 go test -bench . -count 5
package go_peers

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func BenchmarkChanRoundTrip(b *testing.B) {
	there := make(chan int64)
	back := make(chan int64)
	go func() {
		for number := range there {
			back <- number
		}
		close(back)
	}()
	b.ResetTimer()
	var sum int64
	for i := 0; i < b.N; i++ {
		there <- 1
		sum += <-back
	}
	if sum != int64(b.N) {
		b.Fatal("a number was lost")
	}
	close(there)
	<-back
}

func BenchmarkChanBufferedElement(b *testing.B) {
	c := make(chan int64, 128)
	var sum int64
	for i := 0; i < b.N; i++ {
		c <- 1
		sum += <-c
	}
	if sum != int64(b.N) {
		b.Fatal("a number was lost")
	}
}

func BenchmarkChanPipeline(b *testing.B) {
	c := make(chan int64, 128)
	stop := make(chan bool)
	go func() {
		for {
			select {
			case <-stop:
				close(c)
				return
			default:
			}
			for i := 0; i < 64; i++ {
				c <- 1
			}
		}
	}()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		<-c
	}
	b.StopTimer()
	close(stop)
	for range c {
	}
}

func BenchmarkSendAndSelectOf2(b *testing.B) {
	var c [2]chan int64
	for i := range c {
		c[i] = make(chan int64, 1)
	}
	var sum int64
	for i := 0; i < b.N; i++ {
		c[i%2] <- 1
		select {
		case n := <-c[0]:
			sum += n
		case n := <-c[1]:
			sum += n
		}
	}
	if sum != int64(b.N) {
		b.Fatal("a number was lost")
	}
}

func BenchmarkSendAndSelectOf8(b *testing.B) {
	var c [8]chan int64
	for i := range c {
		c[i] = make(chan int64, 1)
	}
	var sum int64
	for i := 0; i < b.N; i++ {
		c[i%8] <- 1
		select {
		case n := <-c[0]:
			sum += n
		case n := <-c[1]:
			sum += n
		case n := <-c[2]:
			sum += n
		case n := <-c[3]:
			sum += n
		case n := <-c[4]:
			sum += n
		case n := <-c[5]:
			sum += n
		case n := <-c[6]:
			sum += n
		case n := <-c[7]:
			sum += n
		}
	}
	if sum != int64(b.N) {
		b.Fatal("a number was lost")
	}
}

func BenchmarkSelectOf2ThatWaits(b *testing.B) {
	there := make(chan int64)
	back := make(chan int64)
	other := make(chan int64)
	go func() {
		for number := range there {
			back <- number
		}
		close(back)
	}()
	b.ResetTimer()
	var sum int64
	for i := 0; i < b.N; i++ {
		there <- 1
		select {
		case n := <-back:
			sum += n
		case n := <-other:
			sum += n
		}
	}
	if sum != int64(b.N) {
		b.Fatal("a number was lost")
	}
	close(there)
	<-back
}

func BenchmarkTryReceiveEmpty(b *testing.B) {
	c := make(chan int64, 1)
	for i := 0; i < b.N; i++ {
		select {
		case <-c:
			b.Fatal("nothing was sent")
		default:
		}
	}
}

func BenchmarkMutex(b *testing.B) {
	var m sync.Mutex
	for i := 0; i < b.N; i++ {
		m.Lock()
		m.Unlock()
	}
}

func BenchmarkRWMutexRead(b *testing.B) {
	var m sync.RWMutex
	for i := 0; i < b.N; i++ {
		m.RLock()
		m.RUnlock()
	}
}

func BenchmarkMutexContended(b *testing.B) {
	const routines, turnsEach = 4, 2500
	var m sync.Mutex
	var count, turns int
	for ; turns < b.N; turns += routines * turnsEach {
		var group sync.WaitGroup
		for i := 0; i < routines; i++ {
			group.Add(1)
			go func() {
				defer group.Done()
				for turn := 0; turn < turnsEach; turn++ {
					m.Lock()
					count++
					m.Unlock()
				}
			}()
		}
		group.Wait()
	}
	if count != turns {
		b.Fatal("a turn was lost")
	}
}

func BenchmarkMutexWaitedFor(b *testing.B) {
	var m sync.Mutex
	var stop atomic.Bool
	var count, others int
	done := make(chan bool)
	go func() {
		for ; !stop.Load(); others++ {
			m.Lock()
			count++
			runtime.Gosched()
			m.Unlock()
		}
		close(done)
	}()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		m.Lock()
		count++
		runtime.Gosched()
		m.Unlock()
	}
	stop.Store(true)
	<-done
	if count != b.N+others {
		b.Fatal("a turn was lost")
	}
}

func BenchmarkWaitGroupAddDone(b *testing.B) {
	var group sync.WaitGroup
	for i := 0; i < b.N; i++ {
		group.Add(1)
		group.Done()
	}
	group.Wait()
}

func BenchmarkOnceDone(b *testing.B) {
	var once sync.Once
	for i := 0; i < b.N; i++ {
		once.Do(func() {})
	}
}

func BenchmarkContextWithCancel(b *testing.B) {
	for i := 0; i < b.N; i++ {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if ctx.Err() == nil {
			b.Fatal("not canceled")
		}
	}
}

func BenchmarkContextWithTimeout(b *testing.B) {
	for i := 0; i < b.N; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		cancel()
		if ctx.Err() == nil {
			b.Fatal("not canceled")
		}
	}
}

func BenchmarkContextWithTimeoutBelow(b *testing.B) {
	parent, end := context.WithCancel(context.Background())
	defer end()
	for i := 0; i < b.N; i++ {
		ctx, cancel := context.WithTimeout(parent, time.Hour)
		cancel()
		if ctx.Err() == nil {
			b.Fatal("not canceled")
		}
	}
}

func BenchmarkTimerStartAndStop(b *testing.B) {
	for i := 0; i < b.N; i++ {
		t := time.AfterFunc(time.Hour, func() {})
		if !t.Stop() {
			b.Fatal("not stopped in time")
		}
	}
}

func BenchmarkTimerReset(b *testing.B) {
	t := time.NewTimer(time.Hour)
	for i := 0; i < b.N; i++ {
		if !t.Reset(time.Hour) {
			b.Fatal("not running any more")
		}
	}
}
