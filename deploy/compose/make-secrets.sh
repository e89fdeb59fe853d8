#!/bin/sh
# Makes what the services of compose.yaml are given as files: certificates, passwords and tokens, each readable by the
# one user that it is for. Run as root: make-secrets.sh FOLDER NAME. Nothing that is there is replaced.
set -eu
folder=$1 name=$2
umask 077
cd "$folder"
if [ -e ca.pem ]; then
    echo "$folder has its secrets already" >&2
    exit 0
fi

secret() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# give FILE OWNER[:GROUP] MODE
give() {
    chmod "$3" "$1"
    chown "$2" "$1"
}

fleet pki init authority
fleet pki issue authority fleet-coordinator --name "$name" --name fleet-coordinator --name localhost
# What a SuperLink starts calls it at 127.0.0.1.
fleet pki issue authority fleet-superlink --name fleet-superlink --name localhost --name 127.0.0.1
fleet pki issue authority grafana --name "$name" --name localhost

for server in fleet-coordinator:10001 fleet-superlink:10002 grafana:472; do
    for end in pem key; do
        cp "authority/${server%:*}.$end" .
        give "${server%:*}.$end" "${server#*:}" 0400
    done
done

mkdir learning
secret > learning/learning.token
cp authority/ca.pem learning/ca.pem
give learning/learning.token 0:10010 0440
give learning/ca.pem 0:10010 0440
give learning 0:10010 0750

secret > postgres.password
printf '*:*:fleet:fleet:%s\n' "$(cat postgres.password)" > pgpass
give postgres.password 999 0400
give pgpass 10001 0400
secret > grafana.password
give grafana.password 472 0400
secret > webhook.token
give webhook.token 65534 0400

# Last: from now on all is there.
cp authority/ca.pem ca.pem
give ca.pem 0:0 0444
chmod 0711 .
