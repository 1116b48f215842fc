"""Numbers of system calls, by architecture: name, on x86_64, on aarch64 (a dash where there is none).

From `asm/unistd_64.h` and `asm-generic/unistd.h` of Linux; a test compares them where those headers are installed.
"""

# What any program may do.
PLAIN = """
  read:0:63 write:1:64 readv:19:65 writev:20:66 pread64:17:67 pwrite64:18:68 preadv:295:69 pwritev:296:70
  close:3:57 close_range:436:436 dup:32:23 dup2:33:- dup3:292:24 pipe:22:- pipe2:293:59 lseek:8:62 stat:4:-
  fstat:5:80 lstat:6:- newfstatat:262:79 statx:332:291 statfs:137:43 fstatfs:138:44 access:21:- faccessat:269:48
  faccessat2:439:439 readlink:89:- readlinkat:267:78 getdents64:217:61 getcwd:79:17 chdir:80:49 fchdir:81:50
  ftruncate:77:46 fallocate:285:47 fsync:74:82 fdatasync:75:83 flock:73:32 umask:95:166 sendfile:40:71
  copy_file_range:326:285 splice:275:76 tee:276:77 fadvise64:221:223 mmap:9:222 mprotect:10:226 munmap:11:215
  mremap:25:216 madvise:28:233 brk:12:214 msync:26:227 mincore:27:232 mlock:149:228 munlock:150:229
  membarrier:324:283 exit:60:93 exit_group:231:94 wait4:61:260 waitid:247:95 futex:202:98 set_robust_list:273:99
  get_robust_list:274:100 set_tid_address:218:96 rseq:334:293 rt_sigaction:13:134 rt_sigprocmask:14:135
  rt_sigreturn:15:139 rt_sigpending:127:136 rt_sigtimedwait:128:137 rt_sigsuspend:130:133 sigaltstack:131:132
  pause:34:- restart_syscall:219:128 getpid:39:172 getppid:110:173 gettid:186:178 getuid:102:174 geteuid:107:175
  getgid:104:176 getegid:108:177 getgroups:115:158 getresuid:118:148 getresgid:120:150 getpgrp:111:-
  getpgid:121:155 getsid:124:156 arch_prctl:158:- getrlimit:97:163 getrusage:98:165 times:100:153 sysinfo:99:179
  uname:63:160 getpriority:140:141 sched_yield:24:124 sched_getaffinity:204:123 sched_getparam:143:121
  sched_getscheduler:145:120 sched_get_priority_max:146:125 sched_get_priority_min:147:126 getcpu:309:168
  nanosleep:35:101 clock_nanosleep:230:115 clock_gettime:228:113 clock_getres:229:114 gettimeofday:96:169
  time:201:- getitimer:36:102 setitimer:38:103 alarm:37:- timer_create:222:107 timer_settime:223:110
  timer_gettime:224:108 timer_delete:226:111 timerfd_create:283:85 timerfd_settime:286:86 timerfd_gettime:287:87
  select:23:- pselect6:270:72 poll:7:- ppoll:271:73 epoll_create:213:- epoll_create1:291:20 epoll_ctl:233:21
  epoll_wait:232:- epoll_pwait:281:22 eventfd:284:- eventfd2:290:19 signalfd4:289:74 recvfrom:45:207
  sendmsg:46:211 recvmsg:47:212 shutdown:48:210 getsockopt:55:209 setsockopt:54:208 getsockname:51:204
  getpeername:52:205 getrandom:318:278
"""

# What changes a folder: only where Landlock says which.
CHANGES = """
  mkdir:83:- mkdirat:258:34 rmdir:84:- unlink:87:- unlinkat:263:35 rename:82:- renameat:264:38 renameat2:316:276
  symlink:88:- symlinkat:266:36 link:86:- linkat:265:37
"""

# What makes processes, or leaves a group of them.
PROCESSES = """
  fork:57:- vfork:58:- execve:59:221 execveat:322:281 setsid:112:157 setpgid:109:154
"""

# What is allowed by its arguments.
LOOKED_AT = """
  open:2:- openat:257:56 clone:56:220 kill:62:129 tgkill:234:131 prctl:157:167 prlimit64:302:261 ioctl:16:29
  fcntl:72:25 socketpair:53:199 sendto:44:206
"""

# What a C library tries first, and does without where the kernel does not know it.
ABSENT = """
  clone3:435:435 openat2:437:437 epoll_pwait2:441:441 futex_waitv:449:449
"""
MACHINES = ("x86_64", "aarch64")


def numbers(table: str, machine: str) -> dict[str, int]:
  """Name to number of the calls of a table that an architecture has."""
  rows = [row.split(":") for row in table.split()]
  column = 1 + MACHINES.index(machine)
  return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
