// What Go's channels, select, locks, contexts and timers cost: the namesakes of the functions in ../sync_bench.cc.
//
//	GOMAXPROCS=1 go test -bench . -count 5
package go_sync

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
	for i := 0; i < b.N; i++ {
		there <- 1
		select {
		case <-back:
		case <-other:
		}
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
	var m sync.Mutex
	var count int64
	var stop atomic.Bool
	var group sync.WaitGroup
	for i := 0; i < 3; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for own := 1; !stop.Load(); own++ {
				m.Lock()
				count++
				m.Unlock()
				if own%64 == 0 {
					runtime.Gosched()
				}
			}
		}()
	}
	b.ResetTimer()
	for i := 1; i <= b.N; i++ {
		m.Lock()
		count++
		m.Unlock()
		if i%64 == 0 {
			runtime.Gosched()
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(count), "ns/turn")
	stop.Store(true)
	group.Wait()
}

func BenchmarkMutexWaitedFor(b *testing.B) {
	var m sync.Mutex
	var stop atomic.Bool
	done := make(chan bool)
	go func() {
		for !stop.Load() {
			m.Lock()
			runtime.Gosched()
			m.Unlock()
		}
		close(done)
	}()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		m.Lock()
		runtime.Gosched()
		m.Unlock()
	}
	stop.Store(true)
	<-done
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
		_, cancel := context.WithCancel(context.Background())
		cancel()
	}
}

func BenchmarkContextWithTimeout(b *testing.B) {
	for i := 0; i < b.N; i++ {
		_, cancel := context.WithTimeout(context.Background(), time.Hour)
		cancel()
	}
}

func BenchmarkContextWithTimeoutBelow(b *testing.B) {
	parent, end := context.WithCancel(context.Background())
	defer end()
	for i := 0; i < b.N; i++ {
		_, cancel := context.WithTimeout(parent, time.Hour)
		cancel()
	}
}

func BenchmarkTimerStartAndStop(b *testing.B) {
	for i := 0; i < b.N; i++ {
		t := time.AfterFunc(time.Hour, func() {})
		t.Stop()
	}
}

func BenchmarkTimerReset(b *testing.B) {
	t := time.NewTimer(time.Hour)
	for i := 0; i < b.N; i++ {
		t.Reset(time.Hour)
	}
}
