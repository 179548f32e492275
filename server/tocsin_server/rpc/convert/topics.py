"""TopicService: topics and their members."""

from tocsin.v1 import topic_service_pb2 as pb
from tocsin_server.domain.topic import Member, Topic
from tocsin_server.rpc.convert.times import timestamp
from tocsin_server.service.paging import Page


def topic_message(topic: Topic) -> pb.Topic:
    """A topic."""
    return pb.Topic(
        topic=topic.name,
        display_name=topic.display_name,
        member_count=topic.member_count,
        create_time=timestamp(topic.create_time),
    )


def page_message(page: Page[Topic]) -> pb.ListTopicsResponse:
    """A page of topics."""
    return pb.ListTopicsResponse(topics=map(topic_message, page.items), next_page_token=page.next_page_token)


def members_message(page: Page[Member]) -> pb.ListMembersResponse:
    """A page of members."""
    members = (
        pb.TopicMember(recipient=member.recipient, create_time=timestamp(member.create_time))
        for member in page.items
    )
    return pb.ListMembersResponse(members=members, next_page_token=page.next_page_token)
