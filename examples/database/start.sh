#!/bin/sh
# Makes the cluster on the first start of a fresh volume, then becomes the server.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    work=$PGDATA/.init
    chmod 0700 "$PGDATA"
    rm -rf "$work"
    initdb --pgdata="$work" --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" \
        --auth-host=scram-sha-256 --auth-local=trust --encoding=UTF8 --no-sync >/dev/null
    echo "host all all all scram-sha-256" >> "$work/pg_hba.conf"
    echo "create database \"$POSTGRES_DB\"" | postgres --single -D "$work" postgres >/dev/null
    sync
    # PG_VERSION moves last: it is what says that the cluster is whole.
    for entry in "$work"/*; do
        case $entry in */PG_VERSION) ;; *) mv "$entry" "$PGDATA"/ ;; esac
    done
    mv "$work"/PG_VERSION "$PGDATA"/
    rmdir "$work"
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/run/postgresql
