/* What starting a binary costs at least: maps a file, looks at every page of it, and says when it has. See main.rs. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    int file = count > 1 ? open(arguments[1], O_RDONLY) : -1;
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0)
        return 1;
    const volatile char *pages = mmap(0, status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (pages == MAP_FAILED)
        return 1;
    for (off_t at = 0; at < status.st_size; at += 4096)
        (void)pages[at];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("first %lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    fflush(stdout);
    pause();
    return 0;
}
