import cProfile, pstats, time, threading, io
from concurrent.futures import ThreadPoolExecutor
from conftest import *
from connector_world import *
import gristmill.connectors.pull as P, gristmill.connectors.session as S
def test_prof(database, owner, s3, bucket, worker):
    def rows(number,size):
        line="SKU-{0}-{1},Product {1} of {0},{1}.50,{1},person{1}@example.com,Springfield\n"; out=["sku,name,price,qty,email,city\n"]; n=0;c=0
        while n<size: out.append(line.format(number,c)); n+=len(out[-1]); c+=1
        return "".join(out).encode()
    with ThreadPoolExecutor(8) as t: list(t.map(lambda i: s3.put(bucket,f"in/{i:05}.csv",rows(i,20000)),range(1000)))
    place=make_place(database,owner,s3_body(s3,bucket))
    marks=[]
    of,orr=P.Pull._fetch_all,P.Pull._read_stored
    async def fa(self,plan):
        a=time.process_time(),time.time(); await of(self,plan); marks.append(("fetch",time.process_time()-a[0],time.time()-a[1]))
    async def rs(self):
        a=time.process_time(),time.time(); await orr(self); marks.append(("read",time.process_time()-a[0],time.time()-a[1]))
    P.Pull._fetch_all=fa; P.Pull._read_stored=rs
    # profile executor threads
    profs=[]
    orig=S._threads.submit
    import os
    if os.environ.get("PROF"):
        def sub(fn,*a,**k):
            def run():
                p=cProfile.Profile()
                try: return p.runcall(fn,*a,**k)
                finally: profs.append(p)
            return orig(run)
        S._threads.submit=sub
    lp=cProfile.Profile()
    if os.environ.get("PROFLOOP"):
        worker._loop.call_soon_threadsafe(lp.enable); time.sleep(.2)
    d=place.pull(within_s=300)
    if os.environ.get("PROFLOOP"):
        worker._loop.call_soon_threadsafe(lp.disable); time.sleep(.3)
        pstats.Stats(lp).sort_stats("tottime").print_stats(35)
    print(marks, d["sync"]["receipt"])
    if profs:
        st=pstats.Stats(profs[0])
        for p in profs[1:]: st.add(p)
        st.sort_stats("tottime").print_stats(40)
