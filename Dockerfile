# docker build -t mibench .
# docker run --rm mibench
# docker run --rm -p 127.0.0.1:8888:8888 mibench \
#     jupyter lab --ip 0.0.0.0 --no-browser notebooks/explore.ipynb
FROM python:3.11-slim

RUN useradd --create-home mibench
WORKDIR /home/mibench/mibench
RUN chown mibench:mibench .
USER mibench
ENV PATH=/home/mibench/.local/bin:$PATH PIP_NO_CACHE_DIR=1

# As in the Makefile: a build of torch of one's own choice stands. The layer with all dependencies
# is made again only when they change.
ARG TORCH
COPY --chown=mibench requirements.lock .
RUN pip install --user -q -c requirements.lock ${TORCH:-$(grep ^torch== requirements.lock)} \
    && pip install --user -q -r requirements.lock

COPY --chown=mibench . .
RUN pip install --user -q --no-deps -e .

CMD ["mibench", "demo"]
